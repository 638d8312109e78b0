//! curb-server
