//! Everything that a user sees of `curb`, in one test program.

mod generated;
mod help;
mod limits;
mod offline;
mod online;
mod sample;
mod show;
