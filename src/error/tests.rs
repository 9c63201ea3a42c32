// SPDX-License-Identifier: Apache-2.0

use super::*;

#[test]
fn one_pointer_wide() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
}

#[test]
fn credentials_never_show() {
    let error = Error::connect("refused").with_transport("nats").with_target("nats://bob:s3cret@h:4222/x");
    assert_eq!(error.to_string(), "nats nats://***@h:4222/x: refused");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn own_kinds_survive_the_wire_and_foreign_codes_stay() {
    for (kind, _) in WIRE_CODES {
        let peer = PeerError::from(Error::new(*kind, "x"));
        assert_eq!((Error::from(peer.clone()).kind(), Error::from(peer).retry()), (*kind, Retry::Never));
        let unstarted = PeerError::from(Error::new(*kind, "x").with_retry(Retry::Safe));
        assert_eq!(
            (Error::from(unstarted.clone()).kind(), Error::from(unstarted.clone()).retry()),
            (*kind, Retry::Safe)
        );
        assert_eq!(Error::from(unstarted.started()).retry(), Retry::Never);
    }
    let theirs = PeerError::new(-32602, "bad").with_data(&b"{\"a\":1}"[..]);
    let error = Error::from(theirs.clone());
    assert_eq!(error.kind(), ErrorKind::Peer);
    assert_eq!(PeerError::from(error), theirs);
}
