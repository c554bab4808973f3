//! Commands of one connection that came together: one message to Raft for all, and answers that go out together.

use std::pin::pin;

use futures::StreamExt;
use openraft::errors::RaftError;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::declared::Payload;
use super::frame::{TOGETHER_BYTES, push_frame};
use super::handler::{Handler, not_known};
use super::message::{Refusal, Response};
use super::proposing::{CARRY_OUT_LIMIT, outcome, too_late};
use crate::command::Reply;
use crate::consensus::ProposeError;

/// What became of a command.
type Outcome = Result<Result<(Reply, u64), ProposeError>, Refusal>;

impl Handler {
    /// Carries out commands, each with the number of its frame; sends frames of answers as they come.
    pub(super) async fn carry_out(&self, commands: Vec<(u64, Payload)>, answers: &mpsc::Sender<Vec<u8>>) {
        self.0.company(false).await;
        let most = commands.len();
        let (numbers, commands): (Vec<u64>, Vec<Payload>) = commands.into_iter().unzip();
        let mut numbers = numbers.into_iter();
        let mut send = async |outcomes: Vec<Outcome>| {
            let mut frames = Vec::new();
            for (outcome, number) in outcomes.into_iter().zip(numbers.by_ref()) {
                let answer = outcome.map(|proposed| Response::Proposed(proposed.map_err(not_known)));
                // What cannot be encoded or is too large is not answered: who waits learns that its fate is not known.
                let _ = push_frame(&mut frames, number, &answer);
                if frames.len() >= TOGETHER_BYTES {
                    let _ = answers.send(std::mem::take(&mut frames)).await;
                }
            }
            if !frames.is_empty() {
                // The connection may have ended.
                let _ = answers.send(frames).await;
            }
        };
        let deadline = Instant::now() + CARRY_OUT_LIMIT;
        let proposed = timeout_at(deadline, self.0.propose_together(commands)).await;
        match proposed.unwrap_or_else(|_| Err(too_late())) {
            Ok(outcomes) => {
                let mut together = pin!(outcomes.ready_chunks(most.max(1)));
                loop {
                    match timeout_at(deadline, together.next()).await {
                        Ok(Some(outcomes)) => send(outcomes).await,
                        // The rest, where Raft has ended meanwhile.
                        Ok(None) => return send(all(most, &ProposeError::Closed)).await,
                        Err(_) => return send(all(most, &too_late())).await,
                    }
                }
            }
            Err(error) => send(all(most, &error)).await,
        }
    }
}

/// The same for all that have no answer yet, and those are at most so many.
fn all(most: usize, error: &ProposeError) -> Vec<Outcome> {
    (0..most).map(|_| Ok(Err(error.clone()))).collect()
}

impl Inner {
    /// Carries out commands on this member, which must lead; outcomes in the order of the commands.
    async fn propose_together(
        &self,
        commands: Vec<Payload>,
    ) -> Result<impl futures::Stream<Item = Outcome> + use<>, ProposeError> {
        if let Some(reason) = self.shared.gauge.why_full() {
            return Err(ProposeError::DiskFull(reason));
        }
        match self.raft.client_write_many(commands).await {
            Ok(written) => Ok(written.map(|written| match written {
                Ok(Ok(done)) => outcome(Ok((done.response, done.log_id))),
                Ok(Err(error)) => outcome(Err(RaftError::APIError(error))),
                Err(fatal) => outcome(Err(RaftError::Fatal(fatal))),
            })),
            Err(fatal) => match outcome(Err(RaftError::Fatal(fatal))) {
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) | Err(_) => Err(ProposeError::Closed),
            },
        }
    }
}
