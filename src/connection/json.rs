// SPDX-License-Identifier: Apache-2.0
//! Requests whose bodies are JSON, for clients that are a few lines long.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Connection;
use crate::error::{Error, Result};
use crate::message::{Message, Request, Subject};

impl dyn Connection {
    /// Sends `params` as JSON to `method` and reads the one item of the answer as JSON. An error of the peer is
    /// [`Error::peer`].
    ///
    /// ```no_run
    /// # async fn example(server: std::sync::Arc<dyn biplane::Connection>) -> biplane::Result<()> {
    /// let tools: serde_json::Value = server.request_json("tools/list", serde_json::json!({})).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Cancel-safe: dropping the future cancels the request.
    pub async fn request_json<P: Serialize, R: DeserializeOwned>(&self, method: &str, params: P) -> Result<R> {
        let request = Request::new(Subject::new(method.to_owned())?, written(method, &params)?);
        let answer = self.request(request).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            Error::protocol(format!("the answer to {method} is not of the form that was asked for")).with_source(error)
        })
    }

    /// Sends `params` as JSON to `method`, which gives no answer.
    pub async fn notify_json<P: Serialize>(&self, method: &str, params: P) -> Result<()> {
        self.notify(&Subject::new(method.to_owned())?, written(method, &params)?).await
    }
}

fn written<P: Serialize>(method: &str, params: &P) -> Result<Message> {
    let text = serde_json::to_vec(params)
        .map_err(|error| Error::config(format!("the parameters of {method} are no JSON")).with_source(error))?;
    Ok(Message::new(text))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::connection::Inbound;
    use crate::error::{ErrorKind, PeerError};
    use crate::testing::rpc_pair;

    #[tokio::test]
    async fn json_goes_there_and_back() {
        let (client, server) = rpc_pair();
        let serving = tokio::spawn(async move {
            while let Ok(Some(inbound)) = server.receive().await {
                match inbound {
                    Inbound::Request(request, reply) if request.subject.as_str() == "echo" => {
                        reply.send(request.message).await.unwrap();
                        reply.close();
                    }
                    Inbound::Request(_, reply) => reply.fail(PeerError::new(-32601, "no such method")),
                    Inbound::Notification(method, _) => return method.to_string(),
                }
            }
            String::new()
        });
        let answer: Value = client.request_json("echo", json!({"a": [1, "ü"]})).await.unwrap();
        assert_eq!(answer, json!({"a": [1, "ü"]}));
        let wrong = client.request_json::<_, Vec<u8>>("echo", json!({})).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Protocol);
        let refused = client.request_json::<_, Value>("other", json!({})).await.unwrap_err();
        assert_eq!(refused.peer().map(|peer| peer.code), Some(-32601));
        client.notify_json("told", json!({})).await.unwrap();
        assert_eq!(serving.await.unwrap(), "told");
    }
}
