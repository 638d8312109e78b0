//! Which processes do machine learning: by the files that are mapped into them, which they cannot forge by a title.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

/// What a process was seen to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Framework {
    /// MLX.
    Mlx,
    /// PyTorch.
    Torch,
    /// JAX.
    Jax,
    /// TensorFlow.
    TensorFlow,
    /// ONNX Runtime.
    OnnxRuntime,
    /// llama.cpp and what is built on it.
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// Ray: drivers and workers.
    Ray,
    /// CUDA.
    Cuda,
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Framework::Mlx => "MLX",
            Framework::Torch => "PyTorch",
            Framework::Jax => "JAX",
            Framework::TensorFlow => "TensorFlow",
            Framework::OnnxRuntime => "ONNX Runtime",
            Framework::LlamaCpp => "llama.cpp",
            Framework::Vllm => "vLLM",
            Framework::Ray => "Ray",
            Framework::Cuda => "CUDA",
        })
    }
}

/// How the name of a mapped file begins, or which directory it lies in.
enum Sign {
    Name(&'static str),
    Directory(&'static str),
}

const SIGNS: [(Sign, Framework); 19] = [
    (Sign::Name("libmlx"), Framework::Mlx),
    (Sign::Name("libtorch"), Framework::Torch),
    (Sign::Name("libc10"), Framework::Torch),
    (Sign::Directory("jaxlib"), Framework::Jax),
    (Sign::Name("libjax"), Framework::Jax),
    (Sign::Name("libtensorflow"), Framework::TensorFlow),
    (Sign::Name("_pywrap_tensorflow"), Framework::TensorFlow),
    (Sign::Name("libonnxruntime"), Framework::OnnxRuntime),
    (Sign::Name("onnxruntime_pybind11"), Framework::OnnxRuntime),
    (Sign::Name("libllama"), Framework::LlamaCpp),
    (Sign::Name("libggml"), Framework::LlamaCpp),
    (Sign::Name("llama-server"), Framework::LlamaCpp),
    (Sign::Name("llama-cli"), Framework::LlamaCpp),
    (Sign::Directory("vllm"), Framework::Vllm),
    (Sign::Name("_raylet.so"), Framework::Ray),
    (Sign::Name("raylet"), Framework::Ray),
    (Sign::Name("libcuda.so"), Framework::Cuda),
    (Sign::Name("libcudart"), Framework::Cuda),
    (Sign::Name("libcublas"), Framework::Cuda),
];

/// The frameworks that mapped files are of; a file that was removed or replaced since (` (deleted)`) counts as well.
pub fn frameworks<'a>(mapped: impl IntoIterator<Item = &'a str>) -> Vec<Framework> {
    let mut found = BTreeSet::new();
    for path in mapped {
        let mut parts = path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        // A directory says something of a library in it, not of any file that lies there.
        let library = name.contains(".so");
        let below: Vec<&str> = if library { parts.collect() } else { Vec::new() };
        for (sign, framework) in &SIGNS {
            let fits = match sign {
                Sign::Name(begin) => name.starts_with(begin),
                Sign::Directory(dir) => below.contains(dir),
            };
            if fits {
                found.insert(*framework);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framework_is_known_by_what_is_loaded_and_not_by_a_name_alone() {
        let of = |paths: &[&str]| frameworks(paths.iter().copied());
        let site = "/opt/v/lib/python3.11/site-packages";
        for (file, framework) in [
            ("mlx/lib/libmlx.so", Framework::Mlx),
            ("torch/lib/libtorch_cpu.so", Framework::Torch),
            ("jaxlib/_jax.so", Framework::Jax),
            ("tensorflow/libtensorflow_cc.so.2", Framework::TensorFlow),
            (
                "onnxruntime/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so",
                Framework::OnnxRuntime,
            ),
            ("llama_cpp/lib/libllama.so", Framework::LlamaCpp),
            ("vllm/_C.abi3.so", Framework::Vllm),
            ("ray/_raylet.so", Framework::Ray),
            ("nvidia/libcudart.so.12", Framework::Cuda),
            ("mlx/lib/libmlx.so (deleted)", Framework::Mlx),
        ] {
            assert_eq!(of(&[&format!("{site}/{file}")]), [framework], "{file}");
        }
        for file in [
            "/usr/bin/python3.11",
            "/usr/lib/libc.so.6",
            "/home/ana/vllm/notes.txt",
            "/home/ana/mylibmlx.so",
            "/home/ana/torch/data.bin",
        ] {
            assert_eq!(of(&[file]), [], "{file}");
        }
    }
}
