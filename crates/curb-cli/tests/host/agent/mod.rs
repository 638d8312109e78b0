//! `curb agent` against a real kernel, with real MLX.

mod attacks;
mod change;
mod hostile;
mod life;
mod mlx;
pub mod place;
mod steps;
mod unit;
