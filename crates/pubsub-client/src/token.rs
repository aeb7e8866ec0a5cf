//! Where tokens come from: nowhere, a constant, or the application, asked each time one is needed.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::ids::Topic;

/// A token that is being fetched.
///
/// ```
/// use pubsub_client::TokenFuture;
///
/// let at_hand: TokenFuture = Box::pin(async { Ok("eyJhbGciOi…".to_owned()) });
/// # let _ = at_hand;
/// ```
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>;

/// Source of the connection's token, or of a subscription's.
///
/// The application is asked when there is no token yet, when the server says that the one it got has expired, and
/// before the time to live that the server told runs out. A constant cannot be renewed: once the server calls it
/// expired the connection (or subscription) ends with that error.
///
/// ```
/// use pubsub_client::{ClientConfig, TokenSource};
///
/// let asked_each_time = TokenSource::callback(|_| async { Ok("eyJhbGciOi…".to_owned()) });
/// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").token(asked_each_time).build()?;
/// # let _ = config;
/// # Ok::<(), pubsub_client::ConfigError>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum TokenSource {
    /// No token is sent.
    #[default]
    None,
    /// Always this one.
    Static(Arc<str>),
    /// Asks the application.
    Callback(Arc<dyn Fn(TokenRequest) -> TokenFuture + Send + Sync>),
}

/// What a token is wanted for.
///
/// ```
/// use pubsub_client::TokenRequest;
///
/// fn path(request: &TokenRequest) -> String {
///     match request {
///         TokenRequest::Subscription(topic) => format!("/token?channel={topic}"),
///         _ => "/token".to_owned(),
///     }
/// }
/// assert_eq!(path(&TokenRequest::Connection), "/token");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenRequest {
    /// The connection.
    Connection,
    /// A subscription to this topic.
    Subscription(Topic),
}

/// The application could not get a token.
///
/// A failure that may pass (the token service is down) is tried again with back-off. A final one (the user has logged
/// out) ends the connection or subscription.
///
/// ```
/// use pubsub_client::TokenError;
///
/// assert_eq!(TokenError::denied("logged out").to_string(), "no token could be had: logged out");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("no token could be had: {message}")]
pub struct TokenError {
    message: String,
    is_final: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl TokenError {
    /// Another attempt may succeed.
    ///
    /// ```
    /// # use pubsub_client::TokenError;
    /// assert!(!TokenError::temporary("the token service is down").is_final());
    /// ```
    pub fn temporary(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_final: false, source: None }
    }

    /// No attempt will succeed: this user may not have a token.
    ///
    /// ```
    /// # use pubsub_client::TokenError;
    /// assert!(TokenError::denied("logged out").is_final());
    /// ```
    pub fn denied(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_final: true, source: None }
    }

    /// Adds what caused it.
    ///
    /// ```
    /// # use std::error::Error as _;
    /// # use pubsub_client::TokenError;
    /// let error = TokenError::temporary("service is down").with_source(std::io::Error::other("refused"));
    /// assert_eq!(error.source().unwrap().to_string(), "refused");
    /// ```
    #[must_use]
    pub fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// Whether trying again is pointless.
    ///
    /// ```
    /// # use pubsub_client::TokenError;
    /// assert!(TokenError::denied("logged out").is_final());
    /// ```
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_final
    }
}

impl TokenSource {
    /// Asks `fetch` for each token.
    ///
    /// ```
    /// use pubsub_client::{TokenRequest, TokenSource};
    ///
    /// let source = TokenSource::callback(|request| async move {
    ///     Ok(match request {
    ///         TokenRequest::Subscription(topic) => format!("a token for {topic}"),
    ///         _ => "a token".to_owned(),
    ///     })
    /// });
    /// # let _ = source;
    /// ```
    pub fn callback<F, T>(fetch: F) -> Self
    where
        F: Fn(TokenRequest) -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        Self::Callback(Arc::new(move |request| Box::pin(fetch(request))))
    }

    /// Whether it gives another token when asked again.
    ///
    /// ```
    /// # use pubsub_client::TokenSource;
    /// assert!(!TokenSource::from("eyJhbGciOi…").is_renewable());
    /// ```
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        matches!(self, Self::Callback(_))
    }

    /// A token, or a future of one. `None`: there is none to be sent.
    pub(crate) fn ask(&self, request: TokenRequest) -> Option<Asked> {
        match self {
            Self::None => None,
            Self::Static(token) => Some(Asked::Now(token.clone())),
            Self::Callback(fetch) => Some(Asked::Later(fetch(request))),
        }
    }
}

pub(crate) enum Asked {
    Now(Arc<str>),
    Later(TokenFuture),
}

impl From<&str> for TokenSource {
    fn from(token: &str) -> Self {
        Self::Static(Arc::from(token))
    }
}

impl From<String> for TokenSource {
    fn from(token: String) -> Self {
        Self::Static(Arc::from(token))
    }
}

/// Never shows a token: this ends up in logs.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Static(_) => "Static(..)",
            Self::Callback(_) => "Callback(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        assert!(!format!("{:?}", TokenSource::from("secret")).contains("secret"));
    }

    #[test]
    fn an_error_keeps_its_source() {
        let error = TokenError::temporary("service is down").with_source(std::io::Error::other("refused"));
        assert_eq!(error.to_string(), "no token could be had: service is down");
        assert_eq!(error.source().unwrap().to_string(), "refused");
        assert!(!error.is_final() && TokenError::denied("logged out").is_final());
    }
}
