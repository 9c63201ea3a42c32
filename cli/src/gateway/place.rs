// SPDX-License-Identifier: Apache-2.0
//! Where a gateway listens that was given no URL.

use biplane::{Error, Result};

/// The URL that `MCP_TRANSPORT` stands for; `None` if it is unset, so that the usual one holds.
pub(super) fn default_listen(transport: Option<&str>) -> Result<Option<String>> {
    let Some(transport) = transport.map(str::trim).filter(|transport| !transport.is_empty()) else { return Ok(None) };
    let url = match transport.to_ascii_lowercase().as_str() {
        "stdio" => "stdio:",
        "http" => return Ok(None),
        "sse" => "sse+http://127.0.0.1:8080/mcp",
        "ws" => "ws://127.0.0.1:8080/mcp",
        "tcp" => "tcp://127.0.0.1:8080",
        "lines" => "lines+tcp://127.0.0.1:8080",
        other => {
            return Err(Error::config(format!("MCP_TRANSPORT={other} does not say where the gateway is to listen"))
                .with_hint(
                    "give it a URL: --listen URL; stdio, http, sse, ws, tcp and lines have a place of their own",
                ));
        }
    };
    Ok(Some(url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_have_a_place_of_their_own() {
        assert_eq!(default_listen(None).unwrap(), None);
        assert_eq!(default_listen(Some(" ")).unwrap(), None);
        assert_eq!(default_listen(Some("http")).unwrap(), None);
        assert_eq!(default_listen(Some("STDIO")).unwrap().as_deref(), Some("stdio:"));
        assert!(default_listen(Some("acme")).unwrap_err().to_string().contains("--listen"));
    }
}
