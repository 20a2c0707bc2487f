//! [`Fixtures`]: the tools, prompts and resources that the official conformance suite calls by name, beside our own.
//!
//! Only in test builds (feature `conformance-fixtures`): the suite then goes through the same HTTP stack as everyone.
//! What they answer is data, `tests/conformance/fixtures.json`; here is what has to happen while they do.

#![expect(deprecated, reason = "the suite tests what newer revisions deprecate")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::*;
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::server::Gateway;

#[cfg(not(debug_assertions))]
compile_error!("the conformance fixtures are for tests: they never go into an optimised build");

/// A gateway, and the suite's fixtures.
#[derive(Clone)]
pub(crate) struct Fixtures {
    gateway: Gateway,
    shared: Arc<Shared>,
}

struct Shared {
    data: Data,
    /// Seals what the client hands back.
    codec: RequestStateCodec,
    subscribers: Mutex<Vec<SubscriptionSink>>,
}

/// The file of fixtures.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Data {
    tools: Vec<Tool>,
    /// Answers that are always the same.
    results: Map<String, Value>,
    /// What the client of the older era is asked, within a call.
    asks: Map<String, Value>,
    inputs: Map<String, Value>,
    prompt_inputs: Map<String, Value>,
    prompts: Vec<Prompt>,
    prompt_results: Map<String, Value>,
    resources: Vec<Resource>,
    templates: Vec<ResourceTemplate>,
    contents: Map<String, Value>,
}

/// What a client of the newer era is asked before there is an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inputs {
    rounds: Vec<InputRequests>,
    /// Which round it is, is told by a sealed state.
    #[serde(default)]
    sealed: bool,
}

/// Pauses between notes, which the suite asks for.
const PAUSE: Duration = Duration::from_millis(50);

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(format!("fixtures.json: {error}"), None))
}

/// Calls fail for whoever left; that is theirs to see.
fn unheard<E: std::fmt::Debug>(sent: Result<(), E>) {
    if let Err(error) = sent {
        tracing::debug!(?error, "a note was not delivered");
    }
}

fn text(words: String) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(words)]).into()
}

impl Fixtures {
    pub(crate) fn new(gateway: Gateway) -> Self {
        let data = serde_json::from_str(include_str!("../tests/conformance/fixtures.json"));
        let shared = Shared {
            data: data.expect("fixtures.json has the form of `Data`"),
            // Whoever reads this may forge states, of tools that do nothing.
            codec: RequestStateCodec::try_new(*b"the fixtures seal nothing of worth")
                .expect("the key is long enough"),
            subscribers: Mutex::default(),
        };
        Self {
            gateway,
            shared: Arc::new(shared),
        }
    }

    fn data(&self) -> &Data {
        &self.shared.data
    }

    /// Returns what the client still has to give, or nothing if all of it is there.
    fn wanted(
        &self,
        inputs: Inputs,
        responses: Option<&InputResponses>,
        state: Option<&str>,
        capabilities: &ClientCapabilities,
    ) -> Result<Option<InputRequiredResult>, ErrorData> {
        let mut round =
            match state.filter(|_| inputs.sealed) {
                None => 0,
                Some(state) => self.shared.codec.open_json(state).map_err(|_| {
                    ErrorData::invalid_params("requestState is not one of ours", None)
                })?,
            };
        let has = |key: &String| {
            responses
                .and_then(|all| all.get(key))
                .is_some_and(Value::is_object)
        };
        let open = |round: usize| {
            let mut requests = inputs.rounds.get(round)?.clone();
            requests.retain(|_, request| match request {
                InputRequest::CreateMessage(_) => capabilities.sampling.is_some(),
                InputRequest::Elicitation(_) => capabilities.elicitation.is_some(),
                InputRequest::ListRoots(_) => capabilities.roots.is_some(),
                _ => false,
            });
            Some(requests)
        };
        // A first call has no state, whatever else it brings.
        let first = inputs.sealed && state.is_none();
        if !first && open(round).is_some_and(|requests| requests.keys().all(has)) {
            round += 1;
        }
        let Some(requests) = open(round).filter(|requests| !requests.is_empty()) else {
            return Ok(None);
        };
        let sealed = match inputs.sealed {
            false => None,
            true => {
                let sealed = self.shared.codec.seal_json(&round);
                Some(sealed.map_err(|error| ErrorData::internal_error(error.to_string(), None))?)
            }
        };
        Ok(Some(InputRequiredResult::new(Some(requests), sealed)))
    }

    async fn tell_subscribers(&self, tools: bool) {
        let all = self.shared.subscribers.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner).clone();
        for subscriber in all {
            unheard(match tools {
                true => subscriber.notify_tool_list_changed().await,
                false => subscriber.notify_prompt_list_changed().await,
            });
        }
    }

    /// Asks the client in the middle of a call, as was done before 2026-07-28.
    async fn ask(
        &self,
        name: &str,
        arguments: &JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut ask = self.data().asks[name].clone();
        let answer = if name == "test_sampling" {
            ask["messages"][0]["content"]["text"] =
                arguments.get("prompt").cloned().unwrap_or_default();
            let answer = context.peer.create_message(parse(ask)?).await;
            answer.map(|answer| json!(answer).to_string())
        } else {
            if let Some(message) = arguments.get("message") {
                ask["message"] = message.clone();
            }
            let answer = context.peer.create_elicitation(parse(ask)?).await;
            answer.map(|answer| json!(answer).to_string())
        };
        Ok(match answer {
            Ok(answer) => text(format!("The client answered: {answer}")),
            Err(error) => {
                let words = format!("the client did not answer: {error}");
                CallToolResult::error(vec![ContentBlock::text(words)]).into()
            }
        })
    }

    /// Runs a tool that does more than answer.
    async fn act(
        &self,
        name: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let log = async |level, words: &str| {
            let note =
                LoggingMessageNotificationParam::new(level, json!(words)).with_logger("fixtures");
            unheard(context.peer.notify_logging_message(note).await);
        };
        match name {
            "test_tool_with_logging" => {
                for words in [
                    "Tool execution started",
                    "Tool processing data",
                    "Tool execution completed",
                ] {
                    log(LoggingLevel::Info, words).await;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            "test_logging_tool" => {
                if let Some(level) = context.meta.log_level() {
                    log(level, "the request asked for it").await;
                }
            }
            "test_tool_with_progress" => {
                for progress in [0.0, 50.0, 100.0] {
                    if let Some(token) = context.meta.get_progress_token() {
                        let note =
                            ProgressNotificationParam::new(token, progress).with_total(100.0);
                        unheard(context.peer.notify_progress(note).await);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            "test_trigger_tool_change" => self.tell_subscribers(true).await,
            "test_trigger_prompt_change" => self.tell_subscribers(false).await,
            "test_missing_capability" => {
                let capabilities = context.meta.client_capabilities().unwrap_or_default();
                if capabilities.sampling.is_none() {
                    let needed = ClientCapabilities::builder().enable_sampling().build();
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
            }
            _ => {
                return Err(ErrorData::internal_error(
                    "the fixture is not implemented",
                    None,
                ));
            }
        }
        Ok(text(format!("{name} is done")))
    }
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.gateway.get_info();
        let capabilities = &mut info.capabilities;
        capabilities.logging.get_or_insert_default();
        capabilities.completions.get_or_insert_default();
        capabilities.tools.get_or_insert_default().list_changed = Some(true);
        capabilities.prompts.get_or_insert_default().list_changed = Some(true);
        let resources = capabilities.resources.get_or_insert_default();
        resources.list_changed = Some(true);
        resources.subscribe = Some(true);
        info
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let ours = self.data().tools.iter().find(|tool| tool.name == name);
        ours.cloned().or_else(|| self.gateway.get_tool(name))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = self.gateway.list_tools(request, context).await?;
        list.tools.extend(self.data().tools.iter().cloned());
        Ok(list)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        let data = self.data();
        if !data.tools.iter().any(|tool| tool.name == name) {
            return self.gateway.call_tool(request, context).await;
        }
        if let Some(result) = data.results.get(name) {
            return parse::<CallToolResult>(result.clone()).map(Into::into);
        }
        if data.asks.contains_key(name) {
            let arguments = request.arguments.clone().unwrap_or_default();
            return self.ask(name, &arguments, &context).await;
        }
        let Some(inputs) = data.inputs.get(name) else {
            return self.act(name, &context).await;
        };
        let (responses, state) = (
            request.input_responses.as_ref(),
            request.request_state.as_deref(),
        );
        let capabilities = context.meta.client_capabilities().unwrap_or_default();
        let wanted = self.wanted(parse(inputs.clone())?, responses, state, &capabilities)?;
        Ok(match wanted {
            Some(wanted) => wanted.into(),
            None => text(format!("Given, state-ok: {}", json!(responses))),
        })
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut list = self.gateway.list_resources(request, context).await?;
        list.resources.extend(self.data().resources.iter().cloned());
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut list = self
            .gateway
            .list_resource_templates(request, context)
            .await?;
        list.resource_templates
            .extend(self.data().templates.iter().cloned());
        Ok(list)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.clone();
        let id = uri
            .strip_prefix("test://template/")
            .and_then(|rest| rest.strip_suffix("/data"));
        let contents = match (self.data().contents.get(&uri), id) {
            (Some(contents), _) => contents.clone(),
            (None, Some(id)) => {
                let data =
                    json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
                json!({ "uri": uri, "mimeType": "application/json", "text": data.to_string() })
            }
            (None, None) if uri.starts_with("test://") => {
                let words = format!("resource not found: {uri}");
                return Err(ErrorData::resource_not_found(
                    words,
                    Some(json!({ "uri": uri })),
                ));
            }
            (None, None) => return self.gateway.read_resource(request, context).await,
        };
        Ok(ReadResourceResult::new(vec![parse(contents)?]).into())
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let mut list = self.gateway.list_prompts(request, context).await?;
        list.prompts.extend(self.data().prompts.iter().cloned());
        Ok(list)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let Some(result) = self.data().prompt_results.get(&request.name) else {
            return self.gateway.get_prompt(request, context).await;
        };
        if let Some(inputs) = self.data().prompt_inputs.get(&request.name) {
            let capabilities = context.meta.client_capabilities().unwrap_or_default();
            let (responses, state) = (
                request.input_responses.as_ref(),
                request.request_state.as_deref(),
            );
            if let Some(wanted) =
                self.wanted(parse(inputs.clone())?, responses, state, &capabilities)?
            {
                return Ok(wanted.into());
            }
        }
        let mut result = result.to_string();
        for (name, value) in request.arguments.iter().flatten() {
            let quoted = json!(value.as_str()).to_string();
            let inner = quoted.trim_matches('"');
            result = result.replace(&format!("{{{name}}}"), inner);
        }
        let result: Value = serde_json::from_str(&result)
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
        parse::<GetPromptResult>(result).map(Into::into)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        match &request.r#ref {
            Reference::Prompt(prompt) if prompt.name.starts_with("test_") => {
                Ok(CompleteResult::default())
            }
            _ => self.gateway.complete(request, context).await,
        }
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let all = self.shared.subscribers.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(context.sink().clone());
        let resources = &context.accepted().resource_subscriptions;
        if resources.as_ref().is_none_or(Vec::is_empty) {
            // The lists of tools and prompts change here, which they never do of a gateway.
            context.cancelled().await;
            return Ok(());
        }
        self.gateway.listen(context).await
    }

    async fn subscribe(
        &self,
        _request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}
