//! The messages of Ray's control store (GCS) as they are on the wire, with the fields that Curb reads and no others: what
//! is not named here is skipped, so that a newer Ray's additions do no harm. Numbers and types are those of Ray 2.60.0
//! (`ray.rpc` and `ray.rpc.autoscaler`).

#![allow(missing_docs, reason = "the names are Ray's own")]

use std::collections::HashMap;

use prost::Message;

/// Amounts by Ray's names.
pub type Amounts = HashMap<String, f64>;

/// The outcome that most replies carry: zero is well.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GcsStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct GetClusterIdRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetClusterIdReply {
    #[prost(message, optional, tag = "1")]
    pub status: Option<GcsStatus>,
    #[prost(bytes = "vec", tag = "2")]
    pub cluster_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetAllJobInfoRequest {
    #[prost(bool, optional, tag = "3")]
    pub skip_submission_job_info_field: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub skip_is_running_tasks_field: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetAllJobInfoReply {
    #[prost(message, optional, tag = "1")]
    pub status: Option<GcsStatus>,
    #[prost(message, repeated, tag = "2")]
    pub job_info_list: Vec<JobTableData>,
}

#[derive(Clone, PartialEq, Message)]
pub struct JobTableData {
    #[prost(bytes = "vec", tag = "1")]
    pub job_id: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub is_dead: bool,
    #[prost(string, tag = "4")]
    pub driver_ip_address: String,
    #[prost(int64, tag = "5")]
    pub driver_pid: i64,
    #[prost(message, optional, tag = "6")]
    pub config: Option<JobConfig>,
    #[prost(string, tag = "9")]
    pub entrypoint: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct JobConfig {
    #[prost(map = "string, string", tag = "6")]
    pub metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetAllActorInfoRequest {
    #[prost(int64, optional, tag = "2")]
    pub limit: Option<i64>,
    #[prost(message, optional, tag = "3")]
    pub filters: Option<ActorFilters>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActorFilters {
    #[prost(int32, optional, tag = "3")]
    pub state: Option<i32>,
}

/// States of an actor.
pub mod actor_state {
    pub const DEPENDENCIES_UNREADY: i32 = 0;
    pub const PENDING_CREATION: i32 = 1;
    pub const ALIVE: i32 = 2;
    pub const RESTARTING: i32 = 3;
    pub const DEAD: i32 = 4;
}

#[derive(Clone, PartialEq, Message)]
pub struct GetAllActorInfoReply {
    #[prost(message, optional, tag = "1")]
    pub status: Option<GcsStatus>,
    #[prost(message, repeated, tag = "2")]
    pub actor_table_data: Vec<ActorTableData>,
    #[prost(int64, tag = "3")]
    pub total: i64,
    #[prost(int64, tag = "4")]
    pub num_filtered: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ActorTableData {
    #[prost(bytes = "vec", tag = "1")]
    pub actor_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub job_id: Vec<u8>,
    #[prost(int32, tag = "6")]
    pub state: i32,
    #[prost(message, optional, tag = "9")]
    pub address: Option<Address>,
    #[prost(bool, tag = "11")]
    pub is_detached: bool,
    #[prost(string, tag = "12")]
    pub name: String,
    #[prost(uint32, tag = "16")]
    pub pid: u32,
    #[prost(string, tag = "19")]
    pub ray_namespace: String,
    #[prost(map = "string, double", tag = "28")]
    pub required_resources: Amounts,
    #[prost(bytes = "vec", optional, tag = "30")]
    pub placement_group_id: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Address {
    #[prost(bytes = "vec", tag = "1")]
    pub node_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct KillActorViaGcsRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub actor_id: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub force_kill: bool,
    #[prost(bool, tag = "3")]
    pub no_restart: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct KillActorViaGcsReply {
    #[prost(message, optional, tag = "1")]
    pub status: Option<GcsStatus>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetAllPlacementGroupRequest {
    #[prost(int64, optional, tag = "1")]
    pub limit: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetAllPlacementGroupReply {
    #[prost(message, optional, tag = "1")]
    pub status: Option<GcsStatus>,
    #[prost(message, repeated, tag = "2")]
    pub placement_group_table_data: Vec<PlacementGroupTableData>,
    #[prost(int64, tag = "3")]
    pub total: i64,
}

/// States of a placement group.
pub mod group_state {
    pub const REMOVED: i32 = 3;
}

#[derive(Clone, PartialEq, Message)]
pub struct PlacementGroupTableData {
    #[prost(message, repeated, tag = "3")]
    pub bundles: Vec<Bundle>,
    #[prost(int32, tag = "5")]
    pub state: i32,
    #[prost(bytes = "vec", tag = "6")]
    pub creator_job_id: Vec<u8>,
    #[prost(bool, tag = "10")]
    pub is_detached: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Bundle {
    #[prost(map = "string, double", tag = "2")]
    pub unit_resources: Amounts,
    #[prost(bytes = "vec", tag = "3")]
    pub node_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetTaskEventsRequest {
    #[prost(int64, optional, tag = "3")]
    pub limit: Option<i64>,
    #[prost(message, optional, tag = "4")]
    pub filters: Option<TaskFilters>,
}

/// All that are given have to hold: two states at once match nothing.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskFilters {
    #[prost(bool, optional, tag = "5")]
    pub exclude_driver: Option<bool>,
    #[prost(message, repeated, tag = "6")]
    pub state_filters: Vec<StateFilter>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateFilter {
    /// 0: equal.
    #[prost(int32, tag = "1")]
    pub predicate: i32,
    #[prost(string, tag = "2")]
    pub state: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetTaskEventsReply {
    #[prost(message, optional, tag = "1")]
    pub status: Option<GcsStatus>,
    #[prost(message, repeated, tag = "2")]
    pub events_by_task: Vec<TaskEvents>,
    #[prost(int32, tag = "4")]
    pub num_status_task_events_dropped: i32,
    #[prost(int64, tag = "7")]
    pub num_truncated: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct TaskEvents {
    #[prost(bytes = "vec", tag = "1")]
    pub task_id: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub task_info: Option<TaskInfoEntry>,
    #[prost(message, optional, tag = "4")]
    pub state_updates: Option<TaskStateUpdate>,
    #[prost(bytes = "vec", tag = "6")]
    pub job_id: Vec<u8>,
}

/// Types of a task.
pub mod task_type {
    pub const ACTOR_CREATION_TASK: i32 = 1;
    pub const ACTOR_TASK: i32 = 2;
}

#[derive(Clone, PartialEq, Message)]
pub struct TaskInfoEntry {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(bytes = "vec", tag = "8")]
    pub parent_task_id: Vec<u8>,
    #[prost(map = "string, double", tag = "13")]
    pub required_resources: Amounts,
    #[prost(bytes = "vec", optional, tag = "26")]
    pub placement_group_id: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskStateUpdate {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub node_id: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "12")]
    pub worker_pid: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct GetClusterResourceStateRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct GetClusterResourceStateReply {
    #[prost(message, optional, tag = "1")]
    pub cluster_resource_state: Option<ClusterResourceState>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ClusterResourceState {
    #[prost(message, repeated, tag = "3")]
    pub node_states: Vec<NodeState>,
    #[prost(message, repeated, tag = "4")]
    pub pending_resource_requests: Vec<ResourceRequestByCount>,
    #[prost(string, tag = "7")]
    pub cluster_session_name: String,
}

/// States of a node.
pub mod node_status {
    pub const DEAD: i32 = 2;
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeState {
    #[prost(bytes = "vec", tag = "1")]
    pub node_id: Vec<u8>,
    #[prost(map = "string, double", tag = "4")]
    pub available_resources: Amounts,
    #[prost(map = "string, double", tag = "5")]
    pub total_resources: Amounts,
    #[prost(int32, tag = "8")]
    pub status: i32,
    #[prost(string, tag = "10")]
    pub node_ip_address: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResourceRequestByCount {
    #[prost(message, optional, tag = "1")]
    pub request: Option<ResourceRequest>,
    #[prost(int64, tag = "2")]
    pub count: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResourceRequest {
    #[prost(map = "string, double", tag = "1")]
    pub resources_bundle: Amounts,
}
