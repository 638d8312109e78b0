//! What a cluster's control store (GCS) says, over gRPC: the truth about what is held.
//!
//! The Python state API says the same and costs Ray's dashboard twenty to sixty times as much. Only questions that Ray answers
//! from its own tables are asked: nothing that makes it ask every worker.

mod fill;
mod wire;

use std::time::Duration;

use curb_core::truth::{ActorId, Sample};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::config::Secret;
use wire::actor_state::{ALIVE, DEPENDENCIES_UNREADY, PENDING_CREATION, RESTARTING};

/// Ray's code for what is not there (its `status.h`).
const NOT_FOUND: i32 = 17;

/// The states of an actor that has not died. Ray filters by one at a time, and without a filter tells of the dead ones too.
const LIVING: [i32; 4] = [ALIVE, PENDING_CREATION, RESTARTING, DEPENDENCIES_UNREADY];

/// How to reach a control store, with a bound for everything that could grow or wait.
#[derive(Clone, Debug)]
pub struct GcsConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// The cluster's own token.
    pub token: Option<Secret>,
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// For each question.
    pub timeout: Duration,
    /// The largest answer, in bytes.
    pub max_answer: usize,
    /// The most rows of one kind that are asked for.
    pub max_rows: u32,
}

impl GcsConfig {
    /// The defaults for the store at `address` (`HOST:PORT`).
    pub fn new(address: impl Into<String>) -> GcsConfig {
        GcsConfig {
            address: address.into(),
            token: None,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            max_answer: 64 << 20,
            max_rows: 100_000,
        }
    }
}

/// Why the control store did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GcsError {
    /// The address is none.
    #[error(
        "`{0}` is not the address of Ray's control store (GCS): expected HOST:PORT, such as 10.0.0.7:6379"
    )]
    Address(String),
    /// The token has bytes that no header can carry.
    #[error(
        "the cluster's token has characters that cannot be sent in a header: expected printable ASCII"
    )]
    Token,
    /// Nobody answered in time.
    #[error("Ray's control store (GCS) at {address} cannot be reached: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// In one line.
        why: String,
    },
    /// The cluster's token is missing or wrong.
    #[error(
        "Ray's control store (GCS) at {address} does not take the cluster's token: give Curb the one that Ray was started with"
    )]
    BadToken {
        /// Where.
        address: String,
    },
    /// It answered something else than asked.
    #[error("Ray's control store (GCS) at {address} did not answer {question}: {why}")]
    Refused {
        /// Where.
        address: String,
        /// What was asked.
        question: &'static str,
        /// In one line.
        why: String,
    },
}

/// A client of one control store. Cheap to clone: clones share a connection.
#[derive(Clone, Debug)]
pub struct Gcs {
    address: String,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
    max_answer: usize,
    max_rows: i64,
}

impl Gcs {
    /// Whether a text is the address of a control store.
    ///
    /// # Errors
    /// It is not.
    pub fn check(address: &str) -> Result<(), GcsError> {
        endpoint(address).map(|_| ())
    }

    /// A client. It connects with its first question, and again whenever the connection was lost.
    ///
    /// # Errors
    /// The address or the token cannot be used. Needs a Tokio runtime.
    pub fn new(config: GcsConfig) -> Result<Gcs, GcsError> {
        let endpoint = endpoint(&config.address)?;
        let token = match &config.token {
            Some(token) => {
                let header = format!("Bearer {}", token.expose()).parse();
                let mut header: MetadataValue<Ascii> = header.map_err(|_| GcsError::Token)?;
                header.set_sensitive(true);
                Some(header)
            }
            None => None,
        };
        let channel = endpoint
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            // An answer of many megabytes is read at once, not in windows of 64 KiB.
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_lazy();
        Ok(Gcs {
            address: config.address,
            channel,
            token,
            max_answer: config.max_answer,
            max_rows: i64::from(config.max_rows),
        })
    }

    /// One look at everything. The questions are asked side by side.
    ///
    /// # Errors
    /// One of them was not answered: there is no half of a sample.
    pub async fn sample(&self) -> Result<Sample, GcsError> {
        let actors = futures_util::future::try_join_all(LIVING.map(|state| self.actors(state)));
        let (cluster, jobs, actors, groups, tasks, state) = tokio::try_join!(
            self.cluster_id(),
            self.jobs(),
            actors,
            self.groups(),
            self.tasks(),
            self.state()
        )?;
        let mut read = fill::Reader::default();
        let mut sample = Sample {
            cluster,
            nodes: read.nodes(&state),
            drivers: read.drivers(&jobs),
            actors: actors.iter().flat_map(|reply| read.actors(reply)).collect(),
            groups: read.groups(&groups),
            tasks: read.tasks(&tasks),
            demand: read.demand(&state),
            gaps: read.gaps,
        };
        // One that began to live between two answers is in both.
        let mut seen = std::collections::HashSet::with_capacity(sample.actors.len());
        sample.actors.retain(|actor| seen.insert(actor.id));
        let cut = |there: i64, told: usize| {
            u64::try_from(there)
                .unwrap_or(0)
                .saturating_sub(told as u64)
        };
        sample.gaps.cut += cut(groups.total, groups.placement_group_table_data.len());
        sample.gaps.cut += actors
            .iter()
            .map(|r| cut(r.total - r.num_filtered, r.actor_table_data.len()))
            .sum::<u64>();
        Ok(sample)
    }

    /// Ends an actor at once and for good. One that has ended already is no error.
    ///
    /// # Errors
    /// The store did not answer, or refused.
    pub async fn kill_actor(&self, actor: ActorId) -> Result<(), GcsError> {
        let question = "/ray.rpc.ActorInfoGcsService/KillActorViaGcs";
        let request = wire::KillActorViaGcsRequest {
            actor_id: actor.0.to_vec(),
            force_kill: true,
            no_restart: true,
        };
        let reply: wire::KillActorViaGcsReply = self.ask(question, request).await?;
        match reply.status {
            Some(status) if status.code == NOT_FOUND => Ok(()),
            status => self.well(question, status.as_ref()),
        }
    }

    async fn cluster_id(&self) -> Result<Vec<u8>, GcsError> {
        let question = "/ray.rpc.NodeInfoGcsService/GetClusterId";
        let reply: wire::GetClusterIdReply =
            self.ask(question, wire::GetClusterIdRequest {}).await?;
        self.well(question, reply.status.as_ref())?;
        Ok(reply.cluster_id)
    }

    async fn jobs(&self) -> Result<wire::GetAllJobInfoReply, GcsError> {
        let question = "/ray.rpc.JobInfoGcsService/GetAllJobInfo";
        // Both of these make the store ask every driver.
        let request = wire::GetAllJobInfoRequest {
            skip_submission_job_info_field: Some(true),
            skip_is_running_tasks_field: Some(true),
        };
        let reply: wire::GetAllJobInfoReply = self.ask(question, request).await?;
        self.well(question, reply.status.as_ref())?;
        Ok(reply)
    }

    async fn actors(&self, state: i32) -> Result<wire::GetAllActorInfoReply, GcsError> {
        let question = "/ray.rpc.ActorInfoGcsService/GetAllActorInfo";
        let request = wire::GetAllActorInfoRequest {
            limit: Some(self.max_rows),
            filters: Some(wire::ActorFilters { state: Some(state) }),
        };
        let reply: wire::GetAllActorInfoReply = self.ask(question, request).await?;
        self.well(question, reply.status.as_ref())?;
        Ok(reply)
    }

    async fn groups(&self) -> Result<wire::GetAllPlacementGroupReply, GcsError> {
        let question = "/ray.rpc.PlacementGroupInfoGcsService/GetAllPlacementGroup";
        let request = wire::GetAllPlacementGroupRequest {
            limit: Some(self.max_rows),
        };
        let reply: wire::GetAllPlacementGroupReply = self.ask(question, request).await?;
        self.well(question, reply.status.as_ref())?;
        Ok(reply)
    }

    async fn tasks(&self) -> Result<wire::GetTaskEventsReply, GcsError> {
        let question = "/ray.rpc.TaskInfoGcsService/GetTaskEvents";
        let running = wire::StateFilter {
            predicate: 0,
            state: "RUNNING".to_owned(),
        };
        let request = wire::GetTaskEventsRequest {
            limit: Some(self.max_rows),
            filters: Some(wire::TaskFilters {
                exclude_driver: Some(true),
                state_filters: vec![running],
            }),
        };
        let reply: wire::GetTaskEventsReply = self.ask(question, request).await?;
        self.well(question, reply.status.as_ref())?;
        Ok(reply)
    }

    async fn state(&self) -> Result<wire::ClusterResourceState, GcsError> {
        let question = "/ray.rpc.autoscaler.AutoscalerStateService/GetClusterResourceState";
        let reply: wire::GetClusterResourceStateReply = self
            .ask(question, wire::GetClusterResourceStateRequest {})
            .await?;
        reply
            .cluster_resource_state
            .ok_or_else(|| self.refused(question, "the answer is empty"))
    }

    async fn ask<Q, A>(&self, question: &'static str, request: Q) -> Result<A, GcsError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(self.max_answer);
        if let Err(error) = grpc.ready().await {
            return Err(self.unreachable(&error));
        }
        let mut request = Request::new(request);
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        let path = PathAndQuery::from_static(question);
        let answer = grpc
            .unary(request, path, ProstCodec::<Q, A>::default())
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => GcsError::BadToken {
                    address: self.address.clone(),
                },
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                    self.unreachable(&status)
                }
                _ => self.refused(question, status.message()),
            })
    }

    fn well(
        &self,
        question: &'static str,
        status: Option<&wire::GcsStatus>,
    ) -> Result<(), GcsError> {
        match status {
            Some(status) if status.code != 0 => Err(self.refused(
                question,
                &format!("code {}: {}", status.code, status.message),
            )),
            _ => Ok(()),
        }
    }

    fn refused(&self, question: &'static str, why: &str) -> GcsError {
        GcsError::Refused {
            address: self.address.clone(),
            question: question.rsplit('/').next().unwrap_or(question),
            why: crate::clean_reason(why),
        }
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> GcsError {
        // The outermost error says "transport error" and nothing else.
        let mut deepest = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        GcsError::Unreachable {
            address: self.address.clone(),
            why: crate::clean_reason(&deepest.to_string()),
        }
    }
}

fn endpoint(address: &str) -> Result<Endpoint, GcsError> {
    let bad = || GcsError::Address(address.to_owned());
    let authority: http::uri::Authority = address.parse().map_err(|_| bad())?;
    if authority.port_u16().is_none() || authority.host().is_empty() || address.contains('@') {
        return Err(bad());
    }
    Endpoint::from_shared(format!("http://{authority}")).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_nothing_else() {
        for good in ["10.0.0.7:6379", "head.example:6379", "[::1]:6379"] {
            assert_eq!(Gcs::check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "10.0.0.7",
            "http://10.0.0.7:6379",
            "a:b",
            "u@h:1",
            "h:1/x",
            "h:99999",
            " h:1",
            ":6379",
        ] {
            let error = Gcs::check(bad).expect_err(bad).to_string();
            assert!(error.contains("expected HOST:PORT"), "{bad}: {error}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address_and_why() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        drop(taken);
        let gcs = Gcs::new(GcsConfig::new(&address)).expect("a client");
        let error = gcs.sample().await.expect_err("nobody listens").to_string();
        assert!(
            error.contains(&address) && error.contains("refused"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn who_takes_the_connection_and_says_nothing_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address").to_string();
        let config = GcsConfig {
            timeout: Duration::from_millis(200),
            ..GcsConfig::new(&address)
        };
        let gcs = Gcs::new(config).expect("a client");
        let asked = tokio::time::timeout(Duration::from_secs(10), gcs.sample());
        let error = asked
            .await
            .expect("it has a deadline")
            .expect_err("no answer");
        assert!(matches!(error, GcsError::Unreachable { .. }), "{error}");
    }
}
