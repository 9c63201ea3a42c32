// SPDX-License-Identifier: Apache-2.0
//! The service that says what it hears; what `biplane conformance` asks.

use biplane::{Handler, Request, ResponseSender, Result};

/// Answers with the message, then with each further item of a streaming request as it comes.
pub(super) struct Echo;

impl Handler for Echo {
    async fn handle(&self, request: Request, reply: ResponseSender) -> Result<()> {
        reply.send(request.message).await?;
        let Some(mut items) = request.items else { return Ok(()) };
        while let Some(item) = items.next().await {
            reply.send(item?).await?;
        }
        Ok(())
    }
}
