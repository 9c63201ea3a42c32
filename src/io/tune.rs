// SPDX-License-Identifier: Apache-2.0
//! Options of TCP sockets, the same for whatever travels over them.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::config::Config;

/// No delay, since whoever writes batches by itself; and the kernel's own notion of a dead peer no later than ours.
pub(crate) fn tune(stream: &TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let interval = config.tcp.heartbeat_interval.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(interval).with_interval(interval))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(config.tcp.connection_timeout))?;
    Ok(())
}
