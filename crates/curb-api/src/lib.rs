//! curb-api
