# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_curb_global_optspecs
    string join \n h/help V/version
end

function __fish_curb_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_curb_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_curb_using_subcommand
    set -l cmd (__fish_curb_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c curb -n "__fish_curb_needs_command" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_needs_command" -s V -l version -d 'Print version'
complete -c curb -n "__fish_curb_needs_command" -f -a "init" -d 'Look at a Ray cluster and write a policy for it that refuses nothing yet'
complete -c curb -n "__fish_curb_needs_command" -f -a "serve" -d 'Run the server in front of Ray'
complete -c curb -n "__fish_curb_needs_command" -f -a "submit" -d 'Submit a job, follow its log, and end as the job ends'
complete -c curb -n "__fish_curb_needs_command" -f -a "jobs" -d 'List, show, stop and release jobs'
complete -c curb -n "__fish_curb_needs_command" -f -a "quota" -d 'Your limits and what is used of them'
complete -c curb -n "__fish_curb_needs_command" -f -a "usage" -d 'Resource-time that was granted, and how much of it lay idle'
complete -c curb -n "__fish_curb_needs_command" -f -a "explain" -d 'Would this job fit, and if not, why and when? Submits nothing'
complete -c curb -n "__fish_curb_needs_command" -f -a "override" -d 'Change limits for a time'
complete -c curb -n "__fish_curb_needs_command" -f -a "token" -d 'Make, list and revoke tokens'
complete -c curb -n "__fish_curb_needs_command" -f -a "policy" -d 'Check, show and apply policies'
complete -c curb -n "__fish_curb_needs_command" -f -a "enforce" -d 'Turn enforcement on or off, or see what it would change'
complete -c curb -n "__fish_curb_needs_command" -f -a "journal" -d 'Verify, follow and export the journal'
complete -c curb -n "__fish_curb_needs_command" -f -a "status" -d 'What the server does and knows, what is hard and what is watched'
complete -c curb -n "__fish_curb_needs_command" -f -a "run" -d 'Run a command on this host within limits that the kernel holds'
complete -c curb -n "__fish_curb_needs_command" -f -a "agent" -d 'Find workloads on this host, confine them, watch them and act at their limits, for good'
complete -c curb -n "__fish_curb_needs_command" -f -a "limits" -d 'Check, show and compare files of limits for workloads of a host'
complete -c curb -n "__fish_curb_needs_command" -f -a "audit" -d 'Are limits in place? For the processes of this host, or in files'
complete -c curb -n "__fish_curb_needs_command" -f -a "profile" -d 'Measure what a command on this host needs, as a baseline for its limits'
complete -c curb -n "__fish_curb_needs_command" -f -a "top" -d 'Watch the workloads of this host: use, limits, what is left'
complete -c curb -n "__fish_curb_needs_command" -f -a "drill" -d 'Rehearse a workload\'s limits: does each of them do what the file says?'
complete -c curb -n "__fish_curb_needs_command" -f -a "drill-load" -d 'A stand-in of `curb drill`'
complete -c curb -n "__fish_curb_needs_command" -f -a "completions" -d 'Write completions for a shell to stdout'
complete -c curb -n "__fish_curb_needs_command" -f -a "man" -d 'Write the man pages to a directory'
complete -c curb -n "__fish_curb_needs_command" -f -a "openapi" -d 'Write the description of the HTTP API (OpenAPI 3.1) to stdout'
complete -c curb -n "__fish_curb_needs_command" -f -a "help" -d 'This help, that of a command, `exit-codes`, or `reason CODE`'
complete -c curb -n "__fish_curb_using_subcommand init" -l ray -d 'The cluster\'s dashboard, such as http://ray-head:8265' -r
complete -c curb -n "__fish_curb_using_subcommand init" -l out -d 'Where to write the policy; what is there is never overwritten' -r -F
complete -c curb -n "__fish_curb_using_subcommand init" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand init" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand serve" -l config -d 'A configuration file (YAML) [env: CURB_CONFIG]' -r -F
complete -c curb -n "__fish_curb_using_subcommand serve" -l listen -d 'Where clients connect [env: CURB_LISTEN] [default: 127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand serve" -l data -d 'The directory of journal and packages [env: CURB_DATA] [default: curb-data]' -r -F
complete -c curb -n "__fish_curb_using_subcommand serve" -l policy -d 'The policy; then the file rules, and the API cannot change it [env: CURB_POLICY]' -r -F
complete -c curb -n "__fish_curb_using_subcommand serve" -l ray -d 'The Ray cluster `main`; its token is in CURB_RAY_TOKEN [env: CURB_RAY]' -r
complete -c curb -n "__fish_curb_using_subcommand serve" -l gcs -d 'Address of that cluster\'s control store (GCS), to watch what jobs hold [env: CURB_GCS] [default: not watched]' -r
complete -c curb -n "__fish_curb_using_subcommand serve" -l start-rate -d 'Starts a second that a cluster is given, 0 for no pacing [env: CURB_START_RATE] [default: 0.5]' -r
complete -c curb -n "__fish_curb_using_subcommand serve" -l dashboard-listen -d 'Where operators may read Ray\'s dashboard [env: CURB_DASHBOARD_LISTEN] [default: nowhere]' -r
complete -c curb -n "__fish_curb_using_subcommand serve" -l host -d 'A host name that clients call this server by; may be given more than once [env: CURB_HOSTS, with commas]' -r
complete -c curb -n "__fish_curb_using_subcommand serve" -l log -d 'Log lines as text or json [env: CURB_LOG_FORMAT] [default: text]' -r
complete -c curb -n "__fish_curb_using_subcommand serve" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand submit" -l id -d 'The id that the job should have' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l working-dir -d 'Take the files below this directory along (less what .gitignore and .rayignore say); or a URI that Ray knows' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l env -d 'A variable of the job\'s environment; may be repeated' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l key -d 'The same key with the same content is the same job: safe to repeat' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l cpu -d 'CPUs: 2, 0.5 or 500m' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l gpu -d 'GPUs, of one model if named: 2 or H100:2' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l memory -d 'Memory: 16GiB, 512MiB' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l resource -d 'A custom resource of the cluster; may be repeated' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l duration -d 'How long it may run: 30m, 24h, 7d' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l priority -d 'Higher goes first, as far as the job type allows' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l job-type -d 'What kind of job it is' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l team -d 'Which of your teams it is charged to' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l cluster -d 'Which cluster it runs on' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand submit" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand submit" -l no-wait -d 'Do not follow the log: print the id and end'
complete -c curb -n "__fish_curb_using_subcommand submit" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand submit" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l state -d 'open, all, queued, starting, running, quarantined, succeeded, failed or stopped' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l user -d 'Only this user\'s' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l cluster -d 'Only on this cluster' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l limit -d 'At most so many' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l all -d 'Those that are over as well: the same as --state all'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -f -a "list" -d 'List jobs: those that are not over, newest first'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -f -a "show" -d 'Show one job: where it stands, what it waits for, who holds that'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -f -a "stop" -d 'Stop a job, waiting or running'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -f -a "release" -d 'Give back what a quarantined job holds: you vouch that nothing of it runs any more'
complete -c curb -n "__fish_curb_using_subcommand jobs; and not __fish_seen_subcommand_from list show stop release exempt" -f -a "exempt" -d 'Hold a job out of reach of ladders for a time (for operators)'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l state -d 'open, all, queued, starting, running, quarantined, succeeded, failed or stopped' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l user -d 'Only this user\'s' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l cluster -d 'Only on this cluster' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l limit -d 'At most so many' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l all -d 'Those that are over as well: the same as --state all'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from show" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from show" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from show" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from stop" -l why -d 'Why; the owner sees it' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from stop" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from stop" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from stop" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from release" -l why -d 'Why you believe that nothing of it runs any more; kept in the journal' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from release" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from release" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from release" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from release" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from exempt" -l for -d 'For how long from now: 2h, 3d; 0s ends it' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from exempt" -l why -d 'Why; kept in the journal' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from exempt" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from exempt" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from exempt" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand jobs; and __fish_seen_subcommand_from exempt" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand quota" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand quota" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand quota" -l all -d 'Everybody\'s buckets (for operators)'
complete -c curb -n "__fish_curb_using_subcommand quota" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand quota" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand usage" -l by -d 'By what: user, team, org, job_type, cluster, job or label:KEY' -r
complete -c curb -n "__fish_curb_using_subcommand usage" -l since -d 'From when: so long ago (30d, 12h), a day (2026-11-01) or a moment (2026-11-01T08:00:00Z)' -r
complete -c curb -n "__fish_curb_using_subcommand usage" -l until -d 'Until when, in the same forms; now if not said' -r
complete -c curb -n "__fish_curb_using_subcommand usage" -l user -d 'Only this user\'s (yourself, if you are no operator)' -r
complete -c curb -n "__fish_curb_using_subcommand usage" -l team -d 'Only this team\'s' -r
complete -c curb -n "__fish_curb_using_subcommand usage" -l limit -d 'At most so many names; the total has all' -r
complete -c curb -n "__fish_curb_using_subcommand usage" -l parquet -d 'The same as a file of Apache Parquet; a file that is there is never overwritten' -r -F
complete -c curb -n "__fish_curb_using_subcommand usage" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand usage" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand usage" -l csv -d 'Comma-separated values, a line for each name and resource, in hours'
complete -c curb -n "__fish_curb_using_subcommand usage" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand usage" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand explain" -l cpu -d 'CPUs: 2, 0.5 or 500m' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l gpu -d 'GPUs, of one model if named: 2 or H100:2' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l memory -d 'Memory: 16GiB, 512MiB' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l resource -d 'A custom resource of the cluster; may be repeated' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l duration -d 'How long it may run: 30m, 24h, 7d' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l priority -d 'Higher goes first, as far as the job type allows' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l job-type -d 'What kind of job it is' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l team -d 'Which of your teams it is charged to' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l cluster -d 'Which cluster it runs on' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand explain" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand explain" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand explain" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand override; and not __fish_seen_subcommand_from add list remove" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand override; and not __fish_seen_subcommand_from add list remove" -f -a "add" -d 'Give somebody more, or less, for a time'
complete -c curb -n "__fish_curb_using_subcommand override; and not __fish_seen_subcommand_from add list remove" -f -a "list" -d 'List those in force'
complete -c curb -n "__fish_curb_using_subcommand override; and not __fish_seen_subcommand_from add list remove" -f -a "remove" -d 'Take one back before its time'
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l user -d 'Buckets of this user' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l team -d 'Buckets of this team' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l org -d 'Buckets of this org unit' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l job-type -d 'Buckets of this job type' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l quota -d 'Only in this quota' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l cpu -d 'CPUs more or less: +4, -0.5' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l gpu -d 'GPUs more or less, of one model if named: +2, H100:+2' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l memory -d 'Memory more or less: +64GiB' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l resource -d 'A custom resource more or less; may be repeated' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l jobs -d 'Running jobs more or less' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l for -d 'For how long: 48h, 7d' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l why -d 'Why; kept in the journal' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from list" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from list" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from list" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from remove" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from remove" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from remove" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand override; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand token; and not __fish_seen_subcommand_from create list revoke" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand token; and not __fish_seen_subcommand_from create list revoke" -f -a "create" -d 'Make a token and print it, once: only its hash is kept'
complete -c curb -n "__fish_curb_using_subcommand token; and not __fish_seen_subcommand_from create list revoke" -f -a "list" -d 'List tokens, without their secrets'
complete -c curb -n "__fish_curb_using_subcommand token; and not __fish_seen_subcommand_from create list revoke" -f -a "revoke" -d 'Revoke a token'
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l user -d 'Whose' -r
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l node -d 'The node whose agent it is for: with --role agent, in place of --user' -r
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l role -d 'What they may do' -r -f -a "agent\t'The agent on a node (`curb agent --server`): tells what runs there, and may do nothing else'
user\t'Submits, sees and stops their own jobs'
operator\t'Sees all jobs and stops any'
admin\t'Operator, and policy, tokens and overrides'"
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l expires -d 'For how long it is valid: 90d [default: for ever]' -r
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l label -d 'A label of the jobs that come with it, before the same one of the user in the policy; may be repeated' -r
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l data -d 'Write straight to the journal in this directory, while no server runs on it; a new one is made if there is none' -r -F
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from list" -l data -d 'Read the journal in this directory, whether a server runs on it or not' -r -F
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from list" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from list" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from list" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from revoke" -l data -d 'Write straight to the journal in this directory, while no server runs on it' -r -F
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from revoke" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from revoke" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from revoke" -l force -d 'Even if it is the last one of an admin, after which nobody can make tokens while the server runs'
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from revoke" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand token; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand policy; and not __fish_seen_subcommand_from check schema show apply" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand policy; and not __fish_seen_subcommand_from check schema show apply" -f -a "check" -d 'Find everything that is wrong or doubtful in a policy file'
complete -c curb -n "__fish_curb_using_subcommand policy; and not __fish_seen_subcommand_from check schema show apply" -f -a "schema" -d 'Print the JSON Schema of the policy file, for editors'
complete -c curb -n "__fish_curb_using_subcommand policy; and not __fish_seen_subcommand_from check schema show apply" -f -a "show" -d 'Print a policy with every default written out: a file, or the one in force'
complete -c curb -n "__fish_curb_using_subcommand policy; and not __fish_seen_subcommand_from check schema show apply" -f -a "apply" -d 'Put a policy in force on the server'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from check" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from schema" -l draft07 -d 'In draft 07, for editors that know no newer one'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from show" -l version -d 'An older version of the server\'s' -r
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from show" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from show" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from show" -l server -d 'The server\'s policy as it was written, without the defaults'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from show" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from apply" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from apply" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from apply" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand policy; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand enforce" -l since -d 'With --preview: how far back' -r
complete -c curb -n "__fish_curb_using_subcommand enforce" -l why -d 'Why; kept in the journal' -r
complete -c curb -n "__fish_curb_using_subcommand enforce" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand enforce" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand enforce" -l preview -d 'What would have been refused or made to wait'
complete -c curb -n "__fish_curb_using_subcommand enforce" -l yes -d 'Enforce, whatever the policy says'
complete -c curb -n "__fish_curb_using_subcommand enforce" -l observe -d 'Let everything pass and only record, whatever the policy says'
complete -c curb -n "__fish_curb_using_subcommand enforce" -l as-policy -d 'Do as the policy says'
complete -c curb -n "__fish_curb_using_subcommand enforce" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand enforce" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand journal; and not __fish_seen_subcommand_from verify tail export backup" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand journal; and not __fish_seen_subcommand_from verify tail export backup" -f -a "verify" -d 'Walk the whole chain of hashes and tell the first thing that is wrong'
complete -c curb -n "__fish_curb_using_subcommand journal; and not __fish_seen_subcommand_from verify tail export backup" -f -a "tail" -d 'Show the newest records, and go on as they come'
complete -c curb -n "__fish_curb_using_subcommand journal; and not __fish_seen_subcommand_from verify tail export backup" -f -a "export" -d 'Write all records as lines that anybody can verify with SHA-256 alone'
complete -c curb -n "__fish_curb_using_subcommand journal; and not __fish_seen_subcommand_from verify tail export backup" -f -a "backup" -d 'Copy the journal and the packages to a new directory, beside a running server'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from verify" -l data -d 'The server\'s data directory; works beside a running server' -r -F
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from verify" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -s n -l lines -d 'So many of the newest first' -r
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -l kind -d 'Only this kind, such as ended or refused; may be repeated' -r
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -l data -d 'Read the journal in this directory instead of asking the server; works beside a running one' -r -F
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -s f -l follow -d 'Go on until Ctrl-C'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -l json -d 'For programs: one JSON object a record'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from tail" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from export" -l out -d 'Write to this file, which must not be there yet [default: stdout]' -r -F
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from export" -l data -d 'The server\'s data directory; works beside a running server' -r -F
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from backup" -l data -d 'The server\'s data directory; works beside a running server' -r -F
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from backup" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand journal; and __fish_seen_subcommand_from backup" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand status" -l address -d 'Where the server is [env: CURB_ADDRESS] [default: http://127.0.0.1:8266]' -r
complete -c curb -n "__fish_curb_using_subcommand status" -l token-file -d 'A file with your token [env: CURB_TOKEN_FILE] [default: what CURB_TOKEN says]' -r -F
complete -c curb -n "__fish_curb_using_subcommand status" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand status" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand run" -l workload -d 'A workload of the file of limits: its limits, its ladder, and its command if none is given here' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l limits -d 'The file of limits' -r -F
complete -c curb -n "__fish_curb_using_subcommand run" -l memory -d 'Memory of all its processes together, such as 4GiB; what goes beyond is killed by the kernel' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l cpu -d 'CPUs, such as 2, 0.5 or 500m; what goes beyond waits' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l processes -d 'Processes and threads at once; what goes beyond is refused' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l open-files -d 'Open files of each process' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l duration -d 'How long it may run, such as 30m or 24h; then it is asked to end' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l cpu-time -d 'CPU time that all its processes may use together, such as 10h; then it is asked to end' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l end-thrashing -d 'When it is ended for thrashing: it is at its limit on memory and only reads its own program back from disk; 10s at least, or `never` [default: as the file of limits says, else 30s]' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l grace -d 'From being asked to end until it is killed' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l events -d 'Write each event as a line of JSON to a file, or to stdout (`-`)' -r -F
complete -c curb -n "__fish_curb_using_subcommand run" -l pid -d 'Hold a process that runs already, with all that descends from it; it is given back when curb is asked to end' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front -d 'Take HTTP requests at LISTEN, within bounds, and pass them to the command\'s server at TO, such as 127.0.0.1:8080=127.0.0.1:8081, or 8080=8081 on this machine alone' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-in-flight -d 'Requests that the server has at once [default: 8]' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-queue -d 'Requests that wait beside them [default: 32]' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-per-client -d 'Requests of one client, running and waiting [default: half of all]' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-body -d 'The largest body of a request [default: 8MiB]' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-deadline -d 'From a request\'s head to the last byte of its answer, waiting included [default: 2m]' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-fallback -d 'Another server that takes the requests while this one cannot' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-metrics -d 'Serve the front\'s figures for Prometheus there, at /metrics; a loopback address, or a port' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l front-trust -d 'Believe a proxy in this network, or at this address, when X-Forwarded-For says who asks; may be given several times' -r
complete -c curb -n "__fish_curb_using_subcommand run" -l stop -d 'With --pid: end it when curb is asked to end'
complete -c curb -n "__fish_curb_using_subcommand run" -l watchdog -d 'Make no control group: look often, and end it where it passes a limit'
complete -c curb -n "__fish_curb_using_subcommand run" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand agent" -l limits -d 'The file of limits: which processes are which workload, and what they may take. Read again when it changes' -r -F
complete -c curb -n "__fish_curb_using_subcommand agent" -l server -d 'On a node of Ray: tell the Curb at this address which processes are whose job\'s, and what they use' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l token-file -d 'The file with the agent\'s token (curb token create --role agent --node NAME); read again when the server refuses it' -r -F
complete -c curb -n "__fish_curb_using_subcommand agent" -l node -d 'The node\'s name, as the token has it [default: the host\'s]' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l cluster -d 'The cluster that the node belongs to [default: the server\'s only one]' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l listen -d 'Where /metrics, /healthz and /readyz are answered' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l log -d 'How events are written to stderr, one a line' -r -f -a "json\t'One JSON object a line'
text\t'In words'"
complete -c curb -n "__fish_curb_using_subcommand agent" -l every -d 'From one look to the next' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l user -d 'The user to become where it is started by root [default: curb-agent, else nobody]' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l leak-window -d 'Of such a time the least memory counts when it is looked for growth; twelve of them must have grown' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l settle -d 'After a start memory may grow for so long: models are loaded then' -r
complete -c curb -n "__fish_curb_using_subcommand agent" -l no-listen -d 'Answer nowhere'
complete -c curb -n "__fish_curb_using_subcommand agent" -l also-root -d 'Confine processes of root too'
complete -c curb -n "__fish_curb_using_subcommand agent" -l also-kept -d 'Confine processes of services and containers too: they are taken out of the groups in which these keep them'
complete -c curb -n "__fish_curb_using_subcommand agent" -l watch-only -d 'Confine nothing: find, watch and tell'
complete -c curb -n "__fish_curb_using_subcommand agent" -l once -d 'Look once, write what was found to stdout as JSON, and change nothing'
complete -c curb -n "__fish_curb_using_subcommand agent" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -f -a "check" -d 'Find everything that is wrong or doubtful in a file of limits'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -f -a "show" -d 'Show each limit with its reason, and what holds it'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -f -a "diff" -d 'Tell what is different between two files of limits'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -f -a "apply" -d 'Give what runs the limits of the file'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -f -a "render" -d 'Write the limits of a workload in the form of another tool'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -f -a "recommend" -d 'Recommend limits from baselines, each number explained'
complete -c curb -n "__fish_curb_using_subcommand limits; and not __fish_seen_subcommand_from check show diff apply render recommend schema" -f -a "schema" -d 'Print the JSON Schema of the file of limits, for editors'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from check" -l host-memory -d 'Check for a host with so much memory [default: this host\'s]' -r
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from check" -l host-cpus -d 'Check for a host with so many CPUs [default: this host\'s]' -r
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from check" -l any-host -d 'Compare with no host, as for a check in CI'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from check" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from show" -l yaml -d 'As a file of limits, with every default written out'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from show" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from diff" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from apply" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from render" -l to -d 'The form' -r -f -a "systemd\t'A drop-in of a systemd service'
docker\t'A shell script that calls `docker run`'
compose\t'A Compose file to merge with one that names the image'
kubernetes\t'A Pod, to which an image has to be added'
ulimit\t'Lines for a shell, before the program'
launchd\t'A property list of launchd (macOS)'"
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from render" -l strict -d 'End with 1 where something is not held as the file says'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from render" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from render" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from recommend" -l into -d 'Put them into this file of limits; made if it is not there' -r -F
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from recommend" -l any-host -d 'For any host: do not compare with this one'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from recommend" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from schema" -l draft07 -d 'In draft 07, for editors that know no newer one'
complete -c curb -n "__fish_curb_using_subcommand limits; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -l fail-on -d 'From which severity on to exit with 1' -r -f -a "error\t'An error'
warning\t'A warning or worse'
never\t'Nothing'"
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -l json -d 'For programs: all subjects with their limits, and the findings'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -l sarif -d 'The findings as SARIF 2.1.0, for code scanning'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -f -a "host" -d 'The machine learning processes of this host (the default)'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -f -a "compose" -d 'Compose files, merged in their order'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -f -a "kubernetes" -d 'Kubernetes manifests, RayCluster, RayJob and RayService too'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -f -a "systemd" -d 'systemd units, by name or file; those that run machine learning where none is named'
complete -c curb -n "__fish_curb_using_subcommand audit; and not __fish_seen_subcommand_from host compose kubernetes systemd rules" -f -a "rules" -d 'The rules, or what one of them means'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from host" -l pid -d 'Only these processes, whatever they have loaded' -r
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from host" -l fail-on -d 'From which severity on to exit with 1' -r -f -a "error\t'An error'
warning\t'A warning or worse'
never\t'Nothing'"
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from host" -l json -d 'For programs: all subjects with their limits, and the findings'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from host" -l sarif -d 'The findings as SARIF 2.1.0, for code scanning'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from host" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from compose" -l fail-on -d 'From which severity on to exit with 1' -r -f -a "error\t'An error'
warning\t'A warning or worse'
never\t'Nothing'"
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from compose" -l json -d 'For programs: all subjects with their limits, and the findings'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from compose" -l sarif -d 'The findings as SARIF 2.1.0, for code scanning'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from compose" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from kubernetes" -l fail-on -d 'From which severity on to exit with 1' -r -f -a "error\t'An error'
warning\t'A warning or worse'
never\t'Nothing'"
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from kubernetes" -l json -d 'For programs: all subjects with their limits, and the findings'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from kubernetes" -l sarif -d 'The findings as SARIF 2.1.0, for code scanning'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from kubernetes" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from systemd" -l root -d 'Look for units below this directory instead of /' -r -F
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from systemd" -l fail-on -d 'From which severity on to exit with 1' -r -f -a "error\t'An error'
warning\t'A warning or worse'
never\t'Nothing'"
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from systemd" -l json -d 'For programs: all subjects with their limits, and the findings'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from systemd" -l sarif -d 'The findings as SARIF 2.1.0, for code scanning'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from systemd" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from rules" -l fail-on -d 'From which severity on to exit with 1' -r -f -a "error\t'An error'
warning\t'A warning or worse'
never\t'Nothing'"
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from rules" -l json -d 'For programs: all subjects with their limits, and the findings'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from rules" -l sarif -d 'The findings as SARIF 2.1.0, for code scanning'
complete -c curb -n "__fish_curb_using_subcommand audit; and __fish_seen_subcommand_from rules" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand profile" -l workload -d 'The workload\'s name [default: that of the program]' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l scenario -d 'The scenario: idle, average, peak, edge (more than planned: it sets no limit) or any other name' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l repeat -d 'How often all of it is run' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l for -d 'How long each scenario is measured at most [default for a server without a load: 10s]' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l load -d 'What drives the server: a line for sh; the scenario is over when it ends' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l then -d 'A further scenario on the same server, with its load; may be given often' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l ready -d 'When the server is ready: a URL that answers with 200, a time, or `listens` [default: listens]' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l every -d 'From one look to the next' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l grace -d 'From being asked to end until it is killed' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l baseline -d 'Put the scenarios into this baseline; made if it is not there' -r -F
complete -c curb -n "__fish_curb_using_subcommand profile" -l model -d 'A file of the model, beside those that are found among the arguments; may be given often' -r -F
complete -c curb -n "__fish_curb_using_subcommand profile" -l program-version -d 'The program\'s version; without it, its file says whether it is another' -r
complete -c curb -n "__fish_curb_using_subcommand profile" -l html -d 'Write a page with chart and figures' -r -F
complete -c curb -n "__fish_curb_using_subcommand profile" -l svg -d 'Write the chart' -r -F
complete -c curb -n "__fish_curb_using_subcommand profile" -l no-group -d 'Make no control group: add up what its processes have'
complete -c curb -n "__fish_curb_using_subcommand profile" -l json -d 'For programs: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)'
complete -c curb -n "__fish_curb_using_subcommand profile" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand top" -l sort -d 'By what rows are ordered' -r -f -a "memory\t'The most memory first'
headroom\t'The least left below its limit first'
cpu\t'The most CPU first'
name\t'By name'"
complete -c curb -n "__fish_curb_using_subcommand top" -l filter -d 'Only workloads with this in their name or framework' -r
complete -c curb -n "__fish_curb_using_subcommand top" -l interval -d 'From one look to the next, 200ms to 1m' -r
complete -c curb -n "__fish_curb_using_subcommand top" -l once -d 'Look twice, print the table, and end'
complete -c curb -n "__fish_curb_using_subcommand top" -l json -d 'The same for programs, as JSON'
complete -c curb -n "__fish_curb_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c curb -n "__fish_curb_using_subcommand drill" -l limits -d 'The file of limits' -r -F
complete -c curb -n "__fish_curb_using_subcommand drill" -l memory -d 'Rehearse with this limit on memory in place of the file\'s' -r
complete -c curb -n "__fish_curb_using_subcommand drill" -l load -d 'What drives the workload\'s own command meanwhile (for sh)' -r
complete -c curb -n "__fish_curb_using_subcommand drill" -l for -d 'For how long the workload\'s own command is run' -r
complete -c curb -n "__fish_curb_using_subcommand drill" -l with-command -d 'Rehearse with the workload\'s own command as well: it is really run, within its own limits and ladder'
complete -c curb -n "__fish_curb_using_subcommand drill" -l json -d 'For programs'
complete -c curb -n "__fish_curb_using_subcommand drill" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "memory-to" -d 'Fill memory up to so many bytes, and stay there'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "memory-beyond" -d 'Fill memory beyond the limit, to so many bytes at most'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "spin" -d 'Compute on so many threads'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "threads" -d 'Start threads, so many at most'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "files" -d 'Open files, so many at most'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "wait" -d 'Wait'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "read" -d 'Read back the limits that it is in'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and not __fish_seen_subcommand_from memory-to memory-beyond spin threads files wait read told" -f -a "told" -d 'Make a file'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from memory-to" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from memory-to" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from memory-beyond" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from memory-beyond" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from spin" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from spin" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from threads" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from threads" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from files" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from files" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from wait" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from wait" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from read" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from read" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from told" -l lasts -d 'For how long at most, in milliseconds' -r
complete -c curb -n "__fish_curb_using_subcommand drill-load; and __fish_seen_subcommand_from told" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand completions" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand man" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand openapi" -s h -l help -d 'Print help'
complete -c curb -n "__fish_curb_using_subcommand help" -s h -l help -d 'Print help'
