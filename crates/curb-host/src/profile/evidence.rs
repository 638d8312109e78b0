//! With what something is measured: the program, the model's files, the machine.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use curb_core::host::baseline::{Evidence, Machine, ModelFile, Of, Program};
use curb_core::host::sample::Gpus;
use sha2::{Digest, Sha256};

use super::{Plan, ProfileError};

/// Files up to this size are read whole.
const WHOLE: u64 = 256 << 20;
/// Of larger ones, so much at each end.
const END: u64 = 4 << 20;
/// The most files of a model.
const MOST_FILES: usize = 200;
/// What files of models are called, as a rule.
const MODELS: [&str; 7] = ["safetensors", "gguf", "npz", "npy", "pt", "pth", "onnx"];
/// Programs whose first file among the arguments is the program.
const INTERPRETERS: [&str; 6] = ["python", "sh", "bash", "node", "perl", "ruby"];

/// The models of the GPUs; `None` where it is not known whether there are any.
pub(super) fn models_of(gpus: &Gpus) -> Option<Vec<String>> {
    match gpus {
        Gpus::Seen(gpus) => Some(gpus.iter().map(|g| g.model.clone()).collect()),
        Gpus::NoneSeen => Some(Vec::new()),
        Gpus::Unknown(_) => None,
    }
}

/// Evidence for a plan. Its GPUs are known once something has run.
pub(super) fn of(plan: &Plan) -> Result<Evidence, ProfileError> {
    let mut files = Vec::new();
    for path in plan.model.iter().cloned().chain(found(&plan.command)) {
        let file = path.to_string_lossy().into_owned();
        if files.len() < MOST_FILES && !files.iter().any(|f: &ModelFile| f.file == file) {
            files.push(fingerprint(&path).map_err(|why| ProfileError::Model { file, why })?);
        }
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(Evidence {
        program: program(&plan.command, plan.version.clone()),
        frameworks: Default::default(),
        model: files,
        machine: machine(None),
    })
}

/// What can be said of the present without running anything: the machine, and the files that the evidence names. A file that
/// is not there any more is left out, and so told as gone.
#[must_use]
pub fn now_of(then: &Evidence) -> Evidence {
    let files = then.model.iter();
    let model: Vec<ModelFile> = files
        .filter_map(|file| fingerprint(Path::new(&file.file)).ok())
        .collect();
    Evidence {
        program: Program::default(),
        frameworks: Default::default(),
        model,
        // GPUs are known once something has run.
        machine: machine(None),
    }
}

/// A file's fingerprint: of all of it up to 256 MiB, else of its size and its ends.
///
/// # Errors
/// It cannot be read.
pub fn fingerprint(path: &Path) -> io::Result<ModelFile> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let bytes = meta.len();
    let mut hash = Sha256::new();
    let of = match bytes <= WHOLE {
        true => {
            feed(&mut hash, &mut file, WHOLE)?;
            Of::All
        }
        false => {
            hash.update(bytes.to_le_bytes());
            feed(&mut hash, &mut file, END)?;
            file.seek(SeekFrom::Start(bytes - END))?;
            feed(&mut hash, &mut file, END)?;
            Of::Ends
        }
    };
    Ok(ModelFile {
        file: path.to_string_lossy().into_owned(),
        bytes,
        sha256: hash.finalize().iter().map(|b| format!("{b:02x}")).collect(),
        of,
    })
}

fn feed(hash: &mut Sha256, file: &mut File, most: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut file = file.take(most);
    loop {
        let got = file.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        hash.update(&buffer[..got]);
    }
}

/// Arguments that are files of a model, or directories with such: also behind a `=`.
fn found(command: &[OsString]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for argument in command.iter().skip(1) {
        let text = argument.to_string_lossy();
        let value = text.split_once('=').map_or(&*text, |(_, value)| value);
        let path = Path::new(value);
        if is_model(path) && path.is_file() {
            all.push(path.to_path_buf());
        } else if value.contains('/') && path.is_dir() {
            let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = inside
                .take(MOST_FILES)
                .map(|e| e.path())
                .filter(|p| is_model(p) && p.is_file())
                .collect();
            files.sort();
            all.extend(files);
        }
    }
    all
}

fn is_model(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy());
    ending.is_some_and(|e| MODELS.contains(&&*e))
}

/// The script where an interpreter runs one, else the program itself. Arguments are not kept.
fn program(command: &[OsString], version: Option<String>) -> Program {
    let first = command.first().map(PathBuf::from).unwrap_or_default();
    let name = |path: &Path| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        name.unwrap_or_default()
    };
    let own = name(&first);
    let interpreted = INTERPRETERS.iter().any(|i| own.starts_with(i));
    let mut arguments = command.iter().skip(1);
    let script = arguments
        .find(|a| !a.to_string_lossy().starts_with('-'))
        .map(PathBuf::from)
        .filter(|path| interpreted && path.is_file());
    let file = script.or_else(|| in_path(&first)).unwrap_or(first);
    Program {
        name: name(&file),
        version,
        sha256: fingerprint(&file).ok().map(|f| f.sha256),
    }
}

fn in_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_path_buf());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn machine(gpus: Option<Vec<String>>) -> Machine {
    let system = rustix::system::uname();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| {
        l.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, m)| m.trim())
    });
    let (memory, cpus) = crate::host::machine();
    Machine {
        system: format!(
            "{} {}",
            system.sysname().to_string_lossy(),
            system.machine().to_string_lossy()
        ),
        cpu: model.map(|m| m.split_whitespace().collect::<Vec<_>>().join(" ")),
        cpus: cpus.unwrap_or(0),
        memory_kib: memory.map_or(0, |m| m.0 / 1024),
        gpus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_script_and_the_model_is_found_among_the_arguments() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name).into_os_string();
        for name in ["serve.py", "a.safetensors", "b.gguf", "notes.txt"] {
            std::fs::write(at(name), name).expect("written");
        }
        let mut option = OsString::from("--weights=");
        option.push(at("b.gguf"));
        let command = [
            "python3".into(),
            "-u".into(),
            at("serve.py"),
            at("a.safetensors"),
            at("notes.txt"),
            option,
        ];
        let program = program(&command, Some("1.2".into()));
        assert_eq!(program.name, "serve.py");
        assert_eq!(
            program.sha256,
            fingerprint(Path::new(&at("serve.py")))
                .ok()
                .map(|f| f.sha256)
        );
        assert_eq!(
            found(&command),
            [at("a.safetensors"), at("b.gguf")].map(PathBuf::from)
        );
        let whole = ["prog".into(), dir.path().as_os_str().to_owned()];
        assert_eq!(
            found(&whole),
            [at("a.safetensors"), at("b.gguf")].map(PathBuf::from)
        );
        assert_eq!(
            super::program(&["/bin/sleep".into(), "1".into()], None).name,
            "sleep"
        );
        assert!(
            super::program(&["sleep".into()], None).sha256.is_some(),
            "found in the path"
        );
    }

    #[test]
    fn a_changed_byte_is_another_fingerprint_and_a_huge_file_is_known_by_its_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("m.safetensors");
        std::fs::write(&path, "abc").expect("written");
        let first = fingerprint(&path).expect("read");
        // The published test vector of SHA-256.
        assert_eq!(
            first.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!((first.bytes, first.of), (3, Of::All));
        std::fs::write(&path, "abd").expect("written");
        assert_ne!(fingerprint(&path).expect("read").sha256, first.sha256);
        // Sparse: it takes no room.
        let file = File::create(&path).expect("made");
        file.set_len(1 << 30).expect("grown");
        let huge = fingerprint(&path).expect("read");
        assert_eq!((huge.bytes, huge.of), (1 << 30, Of::Ends));
        file.set_len((1 << 30) + 1).expect("grown");
        assert_ne!(fingerprint(&path).expect("read").sha256, huge.sha256);
        assert!(fingerprint(dir.path()).is_err() && fingerprint(&dir.path().join("none")).is_err());
    }
}
