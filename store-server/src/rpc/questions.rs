//! [`Questions`]: what a peer has asked and has not finished, kept beside the RPC library's tables, which have no bound.
//!
//! The library keeps an answer until its question is finished, with all its capabilities, and keeps something for each
//! call that is made on an answer that is not there yet. What a message would add to these tables is looked at before
//! the library sees it; a call that would add too much is refused, and leaves nothing behind.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use capnp_rpc::rpc_capnp::{
    call, cap_descriptor, disembargo, message, message_target, payload, promised_answer, resolve,
    return_,
};
use carrack_schema::Code;
use carrack_schema::limits::{CAPABILITIES_MAX, EMBARGOES_MAX, PIPELINE_STEPS_MAX, PIPELINED_MAX};

/// What a peer has asked and has not finished.
#[derive(Debug)]
pub(super) struct Questions {
    open: HashMap<u32, Question>,
    /// How many of them the library knows of.
    known: usize,
    /// How many that may be.
    most: usize,
    /// Disembargoes that were sent and have not come back.
    embargoes: u32,
}

#[derive(Debug)]
enum Question {
    /// Under way.
    Asked {
        /// The peer has finished it before its answer.
        is_finished: bool,
        /// Calls on its answer to be.
        pipelined: u32,
    },
    /// Answered, and the library keeps the answer.
    Answered,
    /// Refused here; the library does not know of it.
    Refused,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The library may have it.
    Pass,
    /// It is a call, which is answered with this error.
    Refuse(u32, capnp::Error),
    /// It is about something that the library does not know of.
    Drop,
}

impl Questions {
    pub(super) fn new(most: usize) -> Self {
        Self {
            open: HashMap::new(),
            known: 0,
            most,
            embargoes: 0,
        }
    }

    /// Takes note of a message that came in, and says what becomes of it.
    ///
    /// # Errors
    /// If no honest peer sends such: the connection ends with it.
    pub(super) fn receive(
        &mut self,
        message: message::Reader<'_>,
        refuse_calls: bool,
    ) -> capnp::Result<Verdict> {
        // What no known schema has is the library's to answer.
        let Ok(which) = message.which() else {
            return Ok(Verdict::Pass);
        };
        match which {
            message::Call(call) => self.call(call?, refuse_calls),
            message::Bootstrap(bootstrap) => {
                Ok(self.ask(bootstrap?.get_question_id(), refuse_calls))
            }
            message::Finish(finish) => Ok(self.finish(finish?.get_question_id())),
            message::Return(answer) => {
                if let return_::Results(results) = answer?.which()? {
                    self.check_capabilities(results?)?;
                }
                Ok(Verdict::Pass)
            }
            message::Resolve(resolve) => {
                if let resolve::Cap(capability) = resolve?.which()? {
                    self.check_capability(capability?)?;
                }
                Ok(Verdict::Pass)
            }
            message::Disembargo(disembargo) => {
                let disembargo = disembargo?;
                if let disembargo::context::ReceiverLoopback(_) =
                    disembargo.get_context().which()?
                {
                    self.embargoes = self.embargoes.saturating_sub(1);
                }
                check_target(disembargo.get_target()?)?;
                Ok(Verdict::Pass)
            }
            _ => Ok(Verdict::Pass),
        }
    }

    fn call(&mut self, call: call::Reader<'_>, refuse_calls: bool) -> capnp::Result<Verdict> {
        let id = call.get_question_id();
        if !matches!(
            call.get_send_results_to().which()?,
            call::send_results_to::Caller(())
        ) {
            // The library would keep the results of such a call for as long as the connection lasts.
            let words = "results go to the caller only";
            return Ok(self.refuse(id, capnp::Error::unimplemented(words.into())));
        }
        self.check_capabilities(call.get_params()?)?;
        if let Some(on) = check_target(call.get_target()?)?
            && let Err(error) = self.build_on(on)
        {
            return Ok(self.refuse(id, error));
        }
        Ok(self.ask(id, refuse_calls))
    }

    /// Takes note of something that is to be done with an answer.
    ///
    /// # Errors
    /// `overloaded` if too much waits for it, or there will be none.
    fn build_on(&mut self, id: u32) -> capnp::Result<()> {
        match self.open.get_mut(&id) {
            Some(Question::Asked { pipelined, .. }) if *pipelined >= PIPELINED_MAX => {
                let words = format!(
                    "{PIPELINED_MAX} calls wait for one answer; await it before calling on"
                );
                Err(overloaded(&words))
            }
            Some(Question::Asked { pipelined, .. }) => {
                *pipelined += 1;
                Ok(())
            }
            Some(Question::Refused) => {
                Err(overloaded("the call that this one builds on was refused"))
            }
            Some(Question::Answered) | None => Ok(()),
        }
    }

    /// # Errors
    /// If a message has more capabilities than any method takes, or names one by a long way. Each costs far more than
    /// the two words that it takes in the message.
    fn check_capabilities(&mut self, payload: payload::Reader<'_>) -> capnp::Result<()> {
        let capabilities = payload.get_cap_table()?;
        if capabilities.len() > CAPABILITIES_MAX {
            let words = format!(
                "a message with {} capabilities; at most {CAPABILITIES_MAX} are taken",
                capabilities.len()
            );
            return Err(limit_exceeded(&words));
        }
        capabilities
            .iter()
            .try_for_each(|capability| self.check_capability(capability))
    }

    fn check_capability(&mut self, capability: cap_descriptor::Reader<'_>) -> capnp::Result<()> {
        match capability.which()? {
            cap_descriptor::ReceiverAnswer(answer) => {
                let answer = answer?;
                check_way(answer)?;
                self.build_on(answer.get_question_id())
            }
            _ => Ok(()),
        }
    }

    /// Takes note of a question, unless there are too many.
    fn ask(&mut self, id: u32, refuse_calls: bool) -> Verdict {
        if refuse_calls {
            let words =
                "what this connection has sent is not being processed; await some of it first";
            return self.refuse(id, overloaded(words));
        }
        if self.known >= self.most {
            let words = format!(
                "{} answers of this connection are not finished; let go of some first",
                self.most
            );
            return self.refuse(id, overloaded(&words));
        }
        // An id that is in use is the library's to complain of.
        if let Entry::Vacant(place) = self.open.entry(id) {
            place.insert(Question::Asked {
                is_finished: false,
                pipelined: 0,
            });
            self.known += 1;
        }
        Verdict::Pass
    }

    fn refuse(&mut self, id: u32, error: capnp::Error) -> Verdict {
        // Of what a peer never finishes some is remembered; calls on the rest fail with the library's own words.
        if self.open.len() - self.known < self.most {
            self.open.entry(id).or_insert(Question::Refused);
        }
        Verdict::Refuse(id, error)
    }

    fn finish(&mut self, id: u32) -> Verdict {
        match self.open.get_mut(&id) {
            Some(Question::Asked { is_finished, .. }) => *is_finished = true,
            Some(Question::Answered) => self.forget(id),
            Some(Question::Refused) => {
                self.open.remove(&id);
                return Verdict::Drop;
            }
            None => {}
        }
        Verdict::Pass
    }

    fn forget(&mut self, id: u32) {
        self.open.remove(&id);
        self.known -= 1;
    }

    /// Takes note of a message that goes out.
    pub(super) fn send(&mut self, message: message::Reader<'_>) {
        match message.which() {
            Ok(message::Return(Ok(answer))) => self.answer(answer),
            Ok(message::Disembargo(Ok(disembargo))) => {
                if let Ok(disembargo::context::SenderLoopback(_)) = disembargo.get_context().which()
                {
                    self.embargoes += 1;
                }
            }
            _ => {}
        }
        if self.open.is_empty() && self.open.capacity() > 64 {
            self.open.shrink_to(16);
        }
    }

    fn answer(&mut self, answer: return_::Reader<'_>) {
        let id = answer.get_answer_id();
        match self.open.get_mut(&id) {
            Some(Question::Asked { is_finished, .. })
                if *is_finished || answer.get_no_finish_needed() =>
            {
                self.forget(id);
            }
            Some(asked @ Question::Asked { .. }) => *asked = Question::Answered,
            Some(Question::Answered | Question::Refused) | None => {}
        }
    }

    /// # Errors
    /// If the peer owes too many disembargoes.
    pub(super) fn check(&self) -> capnp::Result<()> {
        if self.embargoes > EMBARGOES_MAX {
            let words = format!("{EMBARGOES_MAX} disembargoes wait for this peer");
            return Err(limit_exceeded(&words));
        }
        Ok(())
    }
}

/// Returns the question whose answer a message is for, if it is for one.
fn check_target(target: message_target::Reader<'_>) -> capnp::Result<Option<u32>> {
    match target.which()? {
        message_target::ImportedCap(_) => Ok(None),
        message_target::PromisedAnswer(answer) => {
            let answer = answer?;
            check_way(answer)?;
            Ok(Some(answer.get_question_id()))
        }
    }
}

fn check_way(answer: promised_answer::Reader<'_>) -> capnp::Result<()> {
    let steps = answer.get_transform()?.len();
    if steps > PIPELINE_STEPS_MAX {
        let words = format!(
            "{steps} steps from an answer to a capability; at most {PIPELINE_STEPS_MAX} are taken"
        );
        return Err(limit_exceeded(&words));
    }
    Ok(())
}

fn overloaded(words: &str) -> capnp::Error {
    capnp::Error::overloaded(format!("{}: {words}", Code::Overloaded))
}

fn limit_exceeded(words: &str) -> capnp::Error {
    capnp::Error::failed(format!("{}: {words}", Code::LimitExceeded))
}

#[cfg(test)]
mod tests {
    use capnp::message::Builder;

    use super::*;

    fn loopback(questions: &mut Questions, is_ours: bool) {
        let mut builder = Builder::new_default();
        let mut disembargo = builder
            .init_root::<message::Builder<'_>>()
            .init_disembargo();
        disembargo.reborrow().init_target().set_imported_cap(0);
        let mut context = disembargo.init_context();
        if is_ours {
            context.set_sender_loopback(0);
        } else {
            context.set_receiver_loopback(0);
        }
        let message = builder.get_root_as_reader().unwrap();
        if is_ours {
            questions.send(message);
        } else {
            questions.receive(message, false).unwrap();
        }
    }

    #[test]
    fn disembargoes_that_a_peer_owes_are_counted() {
        let mut questions = Questions::new(1);
        for _ in 0..EMBARGOES_MAX {
            loopback(&mut questions, true);
        }
        assert!(questions.check().is_ok());
        loopback(&mut questions, true);
        assert!(questions.check().is_err());
        loopback(&mut questions, false);
        assert!(questions.check().is_ok());
    }
}
