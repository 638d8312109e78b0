//! The sentences that Ray 2.60 answers with, and the shape of its tracebacks.

pub(crate) const NOT_FOUND: &str = "404: Not Found";
pub(crate) const METHOD_NOT_ALLOWED: &str = "405: Method Not Allowed";
pub(crate) const TROUBLE: &str = "500 Internal Server Error\n\nServer got itself in trouble";
pub(crate) const NO_TOKEN: &str = "Unauthorized: Missing authentication token";
pub(crate) const BAD_TOKEN: &str = "Forbidden: Invalid authentication token";

pub(crate) fn no_such_job(id: &str) -> String {
    format!("Job {id} does not exist")
}

pub(crate) fn no_such_package(protocol: &str, name: &str) -> String {
    format!("Package {protocol}://{name} does not exist")
}

pub(crate) fn no_browsers(method: &http::Method) -> String {
    format!("'{method}' method not allowed for browser traffic.")
}

/// What the agent found wrong (400), as the dashboard passes it on: inside a 500.
pub(crate) fn wrapped(agent_status: u16, error: &str) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"ray/dashboard/modules/job/job_head.py\", line 419, in submit_job\n    resp = await job_agent_client.submit_job_internal(submit_request)\nRuntimeError: Request failed with status code {agent_status}: Traceback (most recent call last):\n  File \"ray/dashboard/modules/job/job_agent.py\", line 45, in submit_job\n{error}\n.\n"
    )
}

pub(crate) fn already_exists(id: &str) -> String {
    wrapped(
        400,
        &format!(
            "ValueError: Job with submission_id {id} already exists. Please use a different submission_id."
        ),
    )
}

/// What the dashboard itself found wrong with a body (400).
pub(crate) fn type_error(sentence: &str) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"ray/dashboard/modules/job/utils.py\", line 128, in parse_and_validate_request\nTypeError: {sentence}\n"
    )
}

pub(crate) fn no_runtime_env(package: &str) -> String {
    format!(
        "runtime_env setup failed: Failed to set up runtime environment.\nCould not create the actor because its associated runtime env failed to be created.\n[Node 127.0.0.1] Traceback (most recent call last):\n  File \"ray/_private/runtime_env/packaging.py\", line 957, in download_and_unpack_package\nOSError: Failed to download runtime_env file package gcs://{package} from the GCS to the Ray worker node. The package may have prematurely been deleted from the GCS.\n"
    )
}
