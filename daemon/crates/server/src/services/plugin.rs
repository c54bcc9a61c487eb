//! `PluginService`: keeps the WASM components that workflows name in their chains.

use autodidact_domain::capability::GrantChange;
use autodidact_domain::report::PluginReport;
use autodidact_domain::{
    Capability, Digest, EventBody, PluginName, PluginSummary, PluginUses, PortError,
    WorkflowSummary,
};
use autodidact_proto::v1;
use autodidact_proto::v1::plugin_service_server::PluginService;
use tonic::{Request, Response, Status, Streaming};

use super::{api, trial};
use crate::blocking::{blocking, mutate, read};
use crate::context::Context;
use crate::convert;
use crate::in_use::refuse_if_used;
use crate::pages::page_by_name;
use crate::requests::{Mutation, once};
use crate::status::{OrStatus, bad_name};
use crate::stream::Outgoing;
use crate::transfer::{self, Part};

api!(
    /// Answers the calls of `PluginService`.
    PluginApi
);

#[tonic::async_trait]
impl PluginService for PluginApi {
    async fn install(
        &self,
        request: Request<Streaming<v1::InstallPluginRequest>>,
    ) -> Result<Response<v1::InstallPluginResponse>, Status> {
        use v1::install_plugin_request::Message;
        let _permit = self.context.transfer_permit().await?;
        let limit = self.context.limits.plugin_bytes;
        let take_apart = |message: v1::InstallPluginRequest| match message.message {
            Some(Message::Header(header)) => Part::Header(header),
            Some(Message::Chunk(chunk)) => Part::Chunk(chunk),
            None => Part::Empty,
        };
        let upload =
            transfer::receive(&self.context, &mut request.into_inner(), limit, take_apart).await?;
        let (header, bytes) = (upload.header, upload.bytes);
        let response = blocking(&self.context, move |context| {
            let digest = transfer::check(&bytes, header.size, header.digest.as_ref())?;
            let mutation =
                Mutation::of_upload("PluginService/Install", &header.request_id, &header, digest);
            let grant = trial::capabilities("grant", &header.grant)?;
            once(context, &mutation, || install(context, &bytes, &grant))
        });
        response.await.map(Response::new)
    }

    async fn get(
        &self,
        request: Request<v1::GetPluginRequest>,
    ) -> Result<Response<v1::GetPluginResponse>, Status> {
        let name = plugin_name(&request.into_inner().name)?;
        read(&self.context, move |context| {
            let summary = context.ports.plugins.get(name.as_str()).or_status()?;
            let (uses, failures) = work_of(context, &name)?;
            let plugin = v1::Plugin {
                uses: Some(convert::plugin_uses(&uses)),
                failures,
                ..convert::plugin(&summary)
            };
            Ok(v1::GetPluginResponse {
                plugin: Some(plugin),
            })
        })
        .await
    }

    async fn list(
        &self,
        request: Request<v1::ListPluginsRequest>,
    ) -> Result<Response<v1::ListPluginsResponse>, Status> {
        let v1::ListPluginsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        read(&self.context, move |context| {
            let all = context.ports.plugins.list().or_status()?;
            let (plugins, next_page_token) = page_by_name(
                all,
                |summary| summary.name.as_str(),
                convert::plugin,
                page_size,
                &page_token,
            )?;
            Ok(v1::ListPluginsResponse {
                plugins,
                next_page_token,
            })
        })
        .await
    }

    async fn enable(
        &self,
        request: Request<v1::EnablePluginRequest>,
    ) -> Result<Response<v1::EnablePluginResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("PluginService/Enable", &request.request_id, &request);
        let name = plugin_name(&request.name)?;
        mutate(&self.context, mutation, move |context| {
            let summary = context
                .ports
                .plugins
                .set_enabled(name.as_str(), true)
                .or_status()?;
            tell(context, &name, "enabled")?;
            Ok(v1::EnablePluginResponse {
                plugin: Some(convert::plugin(&summary)),
            })
        })
        .await
    }

    async fn disable(
        &self,
        request: Request<v1::DisablePluginRequest>,
    ) -> Result<Response<v1::DisablePluginResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("PluginService/Disable", &request.request_id, &request);
        let name = plugin_name(&request.name)?;
        mutate(&self.context, mutation, move |context| {
            let plugins = &context.ports.plugins;
            let summary = plugins.set_enabled(name.as_str(), false).or_status()?;
            tell(context, &name, "disabled")?;
            let workflows = context.ports.workflows.list().or_status()?.into_iter();
            let used_by = workflows
                .filter(|workflow| !workflow.state.is_final() && is_bound(workflow, &name));
            Ok(v1::DisablePluginResponse {
                plugin: Some(convert::plugin(&summary)),
                used_by: used_by.map(|w| w.spec.name.to_string()).collect(),
            })
        })
        .await
    }

    async fn grant(
        &self,
        request: Request<v1::GrantPluginRequest>,
    ) -> Result<Response<v1::GrantPluginResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("PluginService/Grant", &request.request_id, &request);
        let name = plugin_name(&request.name)?;
        let change = GrantChange {
            grant: trial::capabilities("grant", &request.grant)?,
            revoke: trial::capabilities("revoke", &request.revoke)?,
            max_tokens: request.max_tokens,
            files: request
                .files
                .into_iter()
                .map(|file| (file.name, file.content))
                .collect(),
        };
        mutate(&self.context, mutation, move |context| {
            let plugins = &context.ports.plugins;
            let summary = plugins.grant(name.as_str(), &change).or_status()?;
            tell(context, &name, "granted")?;
            Ok(v1::GrantPluginResponse {
                plugin: Some(convert::plugin(&summary)),
            })
        })
        .await
    }

    type TestStream = Outgoing<v1::TestPluginResponse>;

    async fn test(
        &self,
        request: Request<Streaming<v1::TestPluginRequest>>,
    ) -> Result<Response<Self::TestStream>, Status> {
        use v1::test_plugin_request::Message;
        let permit = self.context.transfer_permit().await?;
        let limit = self.context.limits.plugin_bytes;
        let take_apart = |message: v1::TestPluginRequest| match message.message {
            Some(Message::Header(header)) => Part::Header(header),
            Some(Message::Chunk(chunk)) => Part::Chunk(chunk),
            None => Part::Empty,
        };
        let upload =
            transfer::receive(&self.context, &mut request.into_inner(), limit, take_apart).await?;
        let (header, bytes) = (upload.header, upload.bytes);
        transfer::check(&bytes, header.size, header.digest.as_ref())?;
        drop(permit);
        trial::start(&self.context, header, bytes).map(Response::new)
    }

    async fn remove(
        &self,
        request: Request<v1::RemovePluginRequest>,
    ) -> Result<Response<v1::RemovePluginResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("PluginService/Remove", &request.request_id, &request);
        let name = plugin_name(&request.name)?;
        mutate(&self.context, mutation, move |context| {
            refuse_if_used(context, "plugin", |workflow| is_bound(workflow, &name))?;
            context.ports.plugins.remove(name.as_str()).or_status()?;
            tell(context, &name, "removed")?;
            Ok(v1::RemovePluginResponse {})
        })
        .await
    }
}

/// Sums what a plugin used and what it failed on in all workflows that have a report.
fn work_of(context: &Context, name: &PluginName) -> Result<(PluginUses, u64), Status> {
    let (mut uses, mut failures) = (PluginUses::default(), 0);
    for workflow in context.ports.workflows.list().or_status()? {
        let named = |plugin: &PluginSummary| plugin.name == *name;
        if !workflow.pinned.plugins.iter().any(named) {
            continue;
        }
        // One that has not ended its first step has none yet.
        let Ok(report) = context.ports.workflows.report(&workflow.spec.name) else {
            continue;
        };
        let of_name = |plugin: &&PluginReport| plugin.rule.name == name.as_str();
        for plugin in report.plugins.iter().filter(of_name) {
            uses.add(&plugin.uses);
            failures += plugin.failures;
        }
    }
    Ok((uses, failures))
}

fn plugin_name(name: &str) -> Result<PluginName, Status> {
    PluginName::new(name).map_err(bad_name("name"))
}

/// Tells whether a workflow was submitted with a plugin.
fn is_bound(workflow: &WorkflowSummary, name: &PluginName) -> bool {
    let mut plugins = workflow.pinned.plugins.iter();
    plugins.any(|plugin| plugin.name == *name)
}

/// Installs a component and grants it what it is to have; tells the watchers also of one that is refused.
fn install(
    context: &Context,
    bytes: &[u8],
    grant: &[Capability],
) -> Result<v1::InstallPluginResponse, Status> {
    let ports = &context.ports;
    let installed = ports.plugins.install_granted(bytes, grant);
    if let Err(error @ (PortError::Invalid(_) | PortError::Exists { .. })) = &installed {
        let refused = EventBody::FileRefused {
            file: format!("component {}", Digest::of(bytes).short()),
            message: error.to_string(),
        };
        ports.events.publish(None, refused).or_status()?;
    }
    let (plugin, before) = installed.or_status()?;
    tell(context, &plugin.name, "installed")?;
    Ok(v1::InstallPluginResponse {
        plugin: Some(convert::plugin(&plugin)),
        before: before.as_ref().map(convert::plugin),
    })
}

/// Tells the watchers what was done to a plugin.
fn tell(context: &Context, name: &PluginName, change: &str) -> Result<(), Status> {
    let body = EventBody::PluginChanged {
        plugin: name.to_string(),
        change: change.to_string(),
    };
    context.ports.events.publish(None, body).or_status()?;
    Ok(())
}
