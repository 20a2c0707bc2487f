//! What a peer says that speaks the RPC protocol by hand: messages as bytes.

use capnp::any_pointer;
use capnp::capability::FromClientHook;
use capnp::message::{Builder, HeapAllocator};
use capnp::traits::{HasTypeId, ImbueMut};
use capnp_rpc::rpc_capnp::{call, message, message_target};
use carrack_schema::wire::store_capnp as wire;

/// What a call is made on.
#[derive(Clone, Copy)]
pub(crate) enum On {
    /// The capability that is all of an answer: a bootstrap's.
    Answer(u32),
    /// The capability in the first field of an answer.
    FieldOf(u32),
}

fn bytes(fill: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let mut builder = Builder::new(HeapAllocator::new());
    fill(builder.init_root());
    capnp::serialize::write_message_to_words(&builder)
}

pub(crate) fn bootstrap(question: u32) -> Vec<u8> {
    bytes(|message| message.init_bootstrap().set_question_id(question))
}

/// Lets go of an answer and all in it.
pub(crate) fn finish(question: u32) -> Vec<u8> {
    finish_with(question, true)
}

/// Lets go of an answer, and keeps the capabilities in it.
pub(crate) fn finish_and_keep(question: u32) -> Vec<u8> {
    finish_with(question, false)
}

fn finish_with(question: u32, release: bool) -> Vec<u8> {
    bytes(|message| {
        let mut finish = message.init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(release);
    })
}

/// Lets go of a capability.
pub(crate) fn release(id: u32) -> Vec<u8> {
    bytes(|message| {
        let mut release = message.init_release();
        release.set_id(id);
        release.set_reference_count(1);
    })
}

/// A call of a method of `I`.
pub(crate) fn call<I: HasTypeId>(
    question: u32,
    on: On,
    method: u16,
    fill: impl FnOnce(call::Builder<'_>),
) -> Vec<u8> {
    bytes(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        call.set_interface_id(I::TYPE_ID);
        call.set_method_id(method);
        target(call.reborrow().init_target(), on);
        fill(call);
    })
}

fn target(target: message_target::Builder<'_>, on: On) {
    match on {
        On::Answer(id) => target.init_promised_answer().set_question_id(id),
        On::FieldOf(id) => {
            let mut answer = target.init_promised_answer();
            answer.set_question_id(id);
            answer.init_transform(1).get(0).set_get_pointer_field(0);
        }
    }
}

/// Question 0 is the bootstrap, 1 a login of the owner.
pub(crate) fn login() -> Vec<u8> {
    let login = call::<wire::gate::Client>(1, On::Answer(0), 0, |call| {
        let content: any_pointer::Builder<'_> = call.init_params().get_content();
        content.init_as::<wire::gate::login_params::Builder<'_>>();
    });
    [bootstrap(0), login].concat()
}

/// A call of `about` on the session of [`login`].
pub(crate) fn about(question: u32, fill: impl FnOnce(call::Builder<'_>)) -> Vec<u8> {
    call::<wire::session::Client>(question, On::FieldOf(1), 0, fill)
}

/// An export of the repo in the first field of an answer, into a sink that this peer hosts and never answers for.
pub(crate) fn export(question: u32, repo: u32) -> Vec<u8> {
    let mut table = Vec::new();
    call::<wire::repo::Client>(question, On::FieldOf(repo), 5, |mut call| {
        let mut params = call.reborrow().init_params();
        params
            .reborrow()
            .init_cap_table(1)
            .get(0)
            .set_sender_hosted(0);
        let mut content: any_pointer::Builder<'_> = params.get_content();
        content.imbue_mut(&mut table);
        let sink = capnp_rpc::new_broken_cap(capnp::Error::failed(String::new()));
        content
            .init_as::<wire::repo::export_params::Builder<'_>>()
            .set_sink(FromClientHook::new(sink.hook));
    })
}

/// The header of a message with one segment.
pub(crate) fn header(words: u32) -> [u8; 8] {
    let mut header = [0; 8];
    header[4..].copy_from_slice(&words.to_le_bytes());
    header
}
