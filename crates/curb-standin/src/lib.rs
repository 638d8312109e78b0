//! curb-standin
