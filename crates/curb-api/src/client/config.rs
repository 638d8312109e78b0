//! Where the server is, who asks, and every bound of the client.

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, Uri};

use super::error::ClientError;

/// Where `curb serve` listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8266";

/// A token's text, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// Wraps a text; white space around it is dropped.
    #[must_use]
    pub fn new(text: &str) -> TokenText {
        TokenText(text.trim().to_owned())
    }

    /// The text itself, to be sent.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// Longer than any token is, in bytes.
const MAX_TOKEN: usize = 1024;

/// How to reach a server, with a bound for everything that could grow or wait.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `http://HOST:PORT`, as in `CURB_ADDRESS`.
    pub address: String,
    /// As in `CURB_TOKEN`.
    pub token: Option<TokenText>,
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// For a whole call.
    pub request_timeout: Duration,
    /// The largest answer in bytes.
    pub max_body: usize,
}

impl ClientConfig {
    /// The defaults for a server at `address`.
    #[must_use]
    pub fn new(address: &str, token: Option<TokenText>) -> ClientConfig {
        ClientConfig {
            address: address.trim().to_owned(),
            token,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            max_body: 64 << 20,
        }
    }

    /// The address with its port said: `http://HOST:PORT`.
    ///
    /// # Errors
    /// The address is not one.
    pub fn base(&self) -> Result<String, ClientError> {
        let authority = self.authority()?;
        let host = authority.host;
        Ok(if host.contains(':') {
            format!("http://[{host}]:{}", authority.port)
        } else {
            format!("http://{host}:{}", authority.port)
        })
    }

    pub(super) fn authority(&self) -> Result<Authority, ClientError> {
        let bad = |why| ClientError::Address {
            address: self.address.clone(),
            why,
        };
        let uri: Uri = self.address.parse().map_err(|_| bad("it cannot be read"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(bad(
                    "TLS is not spoken here: reach the server over a tunnel or a local proxy",
                ));
            }
            _ => return Err(bad("it does not begin with http://")),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("there is something after the host and the port"));
        }
        let authority = uri
            .authority()
            .filter(|a| !a.as_str().contains('@'))
            .ok_or_else(|| bad("it has no plain host"))?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Authority {
            host,
            port: authority.port_u16().unwrap_or(80),
            text: authority.as_str().to_owned(),
        })
    }

    pub(super) fn bearer(&self) -> Result<Option<HeaderValue>, ClientError> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        // What the server would take for a broken request, and blame on the client's program or on a proxy.
        let plain = token.expose().bytes().all(|b| b.is_ascii_graphic());
        if !plain || token.expose().len() > MAX_TOKEN {
            return Err(ClientError::Token);
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> Result<(String, u16), String> {
        let authority = ClientConfig::new(address, None)
            .authority()
            .map_err(|e| e.to_string())?;
        Ok((authority.host, authority.port))
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(
            read("http://127.0.0.1:8266"),
            Ok(("127.0.0.1".into(), 8266))
        );
        assert_eq!(read(" http://[::1]:8266/ "), Ok(("::1".into(), 8266)));
        assert_eq!(read("http://curb"), Ok(("curb".into(), 80)));
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (address, why) in [
            ("https://curb:8266", "TLS"),
            ("curb:8266", "http://"),
            ("http://u:p@curb:1", "plain host"),
            ("http://curb:1/x", "after the host"),
            ("http://a b", "cannot be read"),
        ] {
            let error = read(address).expect_err(address);
            assert!(error.contains(why), "{address}: {error}");
        }
    }

    #[test]
    fn the_base_says_its_port() {
        let base = |address| ClientConfig::new(address, None).base();
        assert_eq!(base("http://curb/"), Ok("http://curb:80".into()));
        assert_eq!(base("http://[::1]:8266"), Ok("http://[::1]:8266".into()));
    }

    #[test]
    fn a_token_is_never_shown() {
        let config = ClientConfig::new(DEFAULT_ADDRESS, Some(TokenText::new("hunter2")));
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(
            config
                .bearer()
                .is_ok_and(|b| b.is_some_and(|b| b.is_sensitive()))
        );
    }
}
