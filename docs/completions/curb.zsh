#compdef curb

autoload -U is-at-least

_curb() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_curb_commands" \
"*::: :->curb" \
&& ret=0
    case $state in
    (curb)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-command-$line[1]:"
        case $line[1] in
            (init)
_arguments "${_arguments_options[@]}" : \
'--ray=[The cluster'\''s dashboard, such as http\://ray-head\:8265]:URL:_default' \
'--out=[Where to write the policy; what is there is never overwritten]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(serve)
_arguments "${_arguments_options[@]}" : \
'--config=[A configuration file (YAML) \[env\: CURB_CONFIG\]]:FILE:_files' \
'--listen=[Where clients connect \[env\: CURB_LISTEN\] \[default\: 127.0.0.1\:8266\]]:IP:PORT:_default' \
'--data=[The directory of journal and packages \[env\: CURB_DATA\] \[default\: curb-data\]]:DIR:_files' \
'--policy=[The policy; then the file rules, and the API cannot change it \[env\: CURB_POLICY\]]:FILE:_files' \
'--ray=[The Ray cluster \`main\`; its token is in CURB_RAY_TOKEN \[env\: CURB_RAY\]]:URL:_default' \
'--gcs=[Address of that cluster'\''s control store (GCS), to watch what jobs hold \[env\: CURB_GCS\] \[default\: not watched\]]:HOST:PORT:_default' \
'--start-rate=[Starts a second that a cluster is given, 0 for no pacing \[env\: CURB_START_RATE\] \[default\: 0.5\]]:N:_default' \
'--dashboard-listen=[Where operators may read Ray'\''s dashboard \[env\: CURB_DASHBOARD_LISTEN\] \[default\: nowhere\]]:IP:PORT:_default' \
'*--host=[A host name that clients call this server by; may be given more than once \[env\: CURB_HOSTS, with commas\]]:NAME:_default' \
'--log=[Log lines as text or json \[env\: CURB_LOG_FORMAT\] \[default\: text\]]:FORM:_default' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(submit)
_arguments "${_arguments_options[@]}" : \
'--id=[The id that the job should have]:ID:_default' \
'--working-dir=[Take the files below this directory along (less what .gitignore and .rayignore say); or a URI that Ray knows]:DIR:_default' \
'*--env=[A variable of the job'\''s environment; may be repeated]:K=V:_default' \
'--key=[The same key with the same content is the same job\: safe to repeat]:TEXT:_default' \
'--cpu=[CPUs\: 2, 0.5 or 500m]:N:_default' \
'--gpu=[GPUs, of one model if named\: 2 or H100\:2]:[MODEL:]N:_default' \
'--memory=[Memory\: 16GiB, 512MiB]:SIZE:_default' \
'*--resource=[A custom resource of the cluster; may be repeated]:NAME=N:_default' \
'--duration=[How long it may run\: 30m, 24h, 7d]:TIME:_default' \
'--priority=[Higher goes first, as far as the job type allows]:N:_default' \
'--job-type=[What kind of job it is]:NAME:_default' \
'--team=[Which of your teams it is charged to]:NAME:_default' \
'--cluster=[Which cluster it runs on]:NAME:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--no-wait[Do not follow the log\: print the id and end]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
'*::command -- What to run:_default' \
&& ret=0
;;
(jobs)
_arguments "${_arguments_options[@]}" : \
'--state=[open, all, queued, starting, running, quarantined, succeeded, failed or stopped]:STATE:_default' \
'--user=[Only this user'\''s]:NAME:_default' \
'--cluster=[Only on this cluster]:NAME:_default' \
'--limit=[At most so many]:N:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'(--state)--all[Those that are over as well\: the same as --state all]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
":: :_curb__subcmd__jobs_commands" \
"*::: :->jobs" \
&& ret=0

    case $state in
    (jobs)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-jobs-command-$line[1]:"
        case $line[1] in
            (list)
_arguments "${_arguments_options[@]}" : \
'--state=[open, all, queued, starting, running, quarantined, succeeded, failed or stopped]:STATE:_default' \
'--user=[Only this user'\''s]:NAME:_default' \
'--cluster=[Only on this cluster]:NAME:_default' \
'--limit=[At most so many]:N:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'(--state)--all[Those that are over as well\: the same as --state all]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':id -- The job:_default' \
&& ret=0
;;
(stop)
_arguments "${_arguments_options[@]}" : \
'--why=[Why; the owner sees it]:TEXT:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':id -- The job:_default' \
&& ret=0
;;
(release)
_arguments "${_arguments_options[@]}" : \
'--why=[Why you believe that nothing of it runs any more; kept in the journal]:TEXT:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':id -- The job:_default' \
&& ret=0
;;
(exempt)
_arguments "${_arguments_options[@]}" : \
'--for=[For how long from now\: 2h, 3d; 0s ends it]:TIME:_default' \
'--why=[Why; kept in the journal]:TEXT:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':id -- The job:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(quota)
_arguments "${_arguments_options[@]}" : \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--all[Everybody'\''s buckets (for operators)]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(usage)
_arguments "${_arguments_options[@]}" : \
'--by=[By what\: user, team, org, job_type, cluster, job or label\:KEY]:WHAT:_default' \
'--since=[From when\: so long ago (30d, 12h), a day (2026-11-01) or a moment (2026-11-01T08\:00\:00Z)]:TIME:_default' \
'--until=[Until when, in the same forms; now if not said]:TIME:_default' \
'--user=[Only this user'\''s (yourself, if you are no operator)]:NAME:_default' \
'--team=[Only this team'\''s]:NAME:_default' \
'--limit=[At most so many names; the total has all]:N:_default' \
'(--json)--parquet=[The same as a file of Apache Parquet; a file that is there is never overwritten]:FILE:_files' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'(--json --parquet)--csv[Comma-separated values, a line for each name and resource, in hours]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(explain)
_arguments "${_arguments_options[@]}" : \
'--cpu=[CPUs\: 2, 0.5 or 500m]:N:_default' \
'--gpu=[GPUs, of one model if named\: 2 or H100\:2]:[MODEL:]N:_default' \
'--memory=[Memory\: 16GiB, 512MiB]:SIZE:_default' \
'*--resource=[A custom resource of the cluster; may be repeated]:NAME=N:_default' \
'--duration=[How long it may run\: 30m, 24h, 7d]:TIME:_default' \
'--priority=[Higher goes first, as far as the job type allows]:N:_default' \
'--job-type=[What kind of job it is]:NAME:_default' \
'--team=[Which of your teams it is charged to]:NAME:_default' \
'--cluster=[Which cluster it runs on]:NAME:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(override)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
":: :_curb__subcmd__override_commands" \
"*::: :->override" \
&& ret=0

    case $state in
    (override)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-override-command-$line[1]:"
        case $line[1] in
            (add)
_arguments "${_arguments_options[@]}" : \
'--user=[Buckets of this user]:NAME:_default' \
'--team=[Buckets of this team]:NAME:_default' \
'--org=[Buckets of this org unit]:NAME:_default' \
'--job-type=[Buckets of this job type]:NAME:_default' \
'--quota=[Only in this quota]:NAME:_default' \
'--cpu=[CPUs more or less\: +4, -0.5]:±N:_default' \
'--gpu=[GPUs more or less, of one model if named\: +2, H100\:+2]:[MODEL:]±N:_default' \
'--memory=[Memory more or less\: +64GiB]:±SIZE:_default' \
'*--resource=[A custom resource more or less; may be repeated]:NAME=±N:_default' \
'--jobs=[Running jobs more or less]:±N:_default' \
'--for=[For how long\: 48h, 7d]:TIME:_default' \
'--why=[Why; kept in the journal]:TEXT:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(remove)
_arguments "${_arguments_options[@]}" : \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':id -- Its number:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(token)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
":: :_curb__subcmd__token_commands" \
"*::: :->token" \
&& ret=0

    case $state in
    (token)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-token-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
'--user=[Whose]:NAME:_default' \
'(--user)--node=[The node whose agent it is for\: with --role agent, in place of --user]:NAME:_default' \
'--role=[What they may do]:ROLE:((agent\:"The agent on a node (\`curb agent --server\`)\: tells what runs there, and may do nothing else"
user\:"Submits, sees and stops their own jobs"
operator\:"Sees all jobs and stops any"
admin\:"Operator, and policy, tokens and overrides"))' \
'--expires=[For how long it is valid\: 90d \[default\: for ever\]]:TIME:_default' \
'*--label=[A label of the jobs that come with it, before the same one of the user in the policy; may be repeated]:K=V:_default' \
'--data=[Write straight to the journal in this directory, while no server runs on it; a new one is made if there is none]:DIR:_files' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
'--data=[Read the journal in this directory, whether a server runs on it or not]:DIR:_files' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(revoke)
_arguments "${_arguments_options[@]}" : \
'--data=[Write straight to the journal in this directory, while no server runs on it]:DIR:_files' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--force[Even if it is the last one of an admin, after which nobody can make tokens while the server runs]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':id -- Its id\: the 8 characters after `curb_`; or the whole token, of which no more than the id is sent:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(policy)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
":: :_curb__subcmd__policy_commands" \
"*::: :->policy" \
&& ret=0

    case $state in
    (policy)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-policy-command-$line[1]:"
        case $line[1] in
            (check)
_arguments "${_arguments_options[@]}" : \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
'*::files -- The files; `-` reads stdin:_files' \
&& ret=0
;;
(schema)
_arguments "${_arguments_options[@]}" : \
'--draft07[In draft 07, for editors that know no newer one]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
'()--version=[An older version of the server'\''s]:N:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--server[The server'\''s policy as it was written, without the defaults]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
'::file -- A file \[default\: the policy in force\]:_files' \
&& ret=0
;;
(apply)
_arguments "${_arguments_options[@]}" : \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':file -- The file:_files' \
&& ret=0
;;
        esac
    ;;
esac
;;
(enforce)
_arguments "${_arguments_options[@]}" : \
'(--yes --observe --as-policy)--since=[With --preview\: how far back]:TIME:_default' \
'(--preview)--why=[Why; kept in the journal]:TEXT:_default' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--preview[What would have been refused or made to wait]' \
'--yes[Enforce, whatever the policy says]' \
'--observe[Let everything pass and only record, whatever the policy says]' \
'--as-policy[Do as the policy says]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(journal)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
":: :_curb__subcmd__journal_commands" \
"*::: :->journal" \
&& ret=0

    case $state in
    (journal)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-journal-command-$line[1]:"
        case $line[1] in
            (verify)
_arguments "${_arguments_options[@]}" : \
'--data=[The server'\''s data directory; works beside a running server]:DIR:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(tail)
_arguments "${_arguments_options[@]}" : \
'-n+[So many of the newest first]:N:_default' \
'--lines=[So many of the newest first]:N:_default' \
'*--kind=[Only this kind, such as ended or refused; may be repeated]:KIND:_default' \
'--data=[Read the journal in this directory instead of asking the server; works beside a running one]:DIR:_files' \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'-f[Go on until Ctrl-C]' \
'--follow[Go on until Ctrl-C]' \
'--json[For programs\: one JSON object a record]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(export)
_arguments "${_arguments_options[@]}" : \
'--out=[Write to this file, which must not be there yet \[default\: stdout\]]:FILE:_files' \
'--data=[The server'\''s data directory; works beside a running server]:DIR:_files' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(backup)
_arguments "${_arguments_options[@]}" : \
'--data=[The server'\''s data directory; works beside a running server]:DIR:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':to -- The directory to make; what is there is never overwritten:_files' \
&& ret=0
;;
        esac
    ;;
esac
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--address=[Where the server is \[env\: CURB_ADDRESS\] \[default\: http\://127.0.0.1\:8266\]]:URL:_default' \
'--token-file=[A file with your token \[env\: CURB_TOKEN_FILE\] \[default\: what CURB_TOKEN says\]]:FILE:_files' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(run)
_arguments "${_arguments_options[@]}" : \
'--workload=[A workload of the file of limits\: its limits, its ladder, and its command if none is given here]:NAME:_default' \
'--limits=[The file of limits]:FILE:_files' \
'--memory=[Memory of all its processes together, such as 4GiB; what goes beyond is killed by the kernel]:SIZE:_default' \
'--cpu=[CPUs, such as 2, 0.5 or 500m; what goes beyond waits]:N:_default' \
'--processes=[Processes and threads at once; what goes beyond is refused]:N:_default' \
'--open-files=[Open files of each process]:N:_default' \
'--duration=[How long it may run, such as 30m or 24h; then it is asked to end]:TIME:_default' \
'--cpu-time=[CPU time that all its processes may use together, such as 10h; then it is asked to end]:TIME:_default' \
'--end-thrashing=[When it is ended for thrashing\: it is at its limit on memory and only reads its own program back from disk; 10s at least, or \`never\` \[default\: as the file of limits says, else 30s\]]:TIME:_default' \
'--grace=[From being asked to end until it is killed]:TIME:_default' \
'--events=[Write each event as a line of JSON to a file, or to stdout (\`-\`)]:FILE:_files' \
'()--pid=[Hold a process that runs already, with all that descends from it; it is given back when curb is asked to end]:PID:_default' \
'--front=[Take HTTP requests at LISTEN, within bounds, and pass them to the command'\''s server at TO, such as 127.0.0.1\:8080=127.0.0.1\:8081, or 8080=8081 on this machine alone]:LISTEN=TO:_default' \
'--front-in-flight=[Requests that the server has at once \[default\: 8\]]:N:_default' \
'--front-queue=[Requests that wait beside them \[default\: 32\]]:N:_default' \
'--front-per-client=[Requests of one client, running and waiting \[default\: half of all\]]:N:_default' \
'--front-body=[The largest body of a request \[default\: 8MiB\]]:SIZE:_default' \
'--front-deadline=[From a request'\''s head to the last byte of its answer, waiting included \[default\: 2m\]]:TIME:_default' \
'--front-fallback=[Another server that takes the requests while this one cannot]:ADDRESS:_default' \
'--front-metrics=[Serve the front'\''s figures for Prometheus there, at /metrics; a loopback address, or a port]:ADDRESS:_default' \
'*--front-trust=[Believe a proxy in this network, or at this address, when X-Forwarded-For says who asks; may be given several times]:CIDR:_default' \
'--stop[With --pid\: end it when curb is asked to end]' \
'--watchdog[Make no control group\: look often, and end it where it passes a limit]' \
'-h[Print help]' \
'--help[Print help]' \
'*::command -- The command and its arguments:_default' \
&& ret=0
;;
(agent)
_arguments "${_arguments_options[@]}" : \
'--limits=[The file of limits\: which processes are which workload, and what they may take. Read again when it changes]:FILE:_files' \
'(--limits --watch-only --once --also-root --also-kept --user --listen --no-listen)--server=[On a node of Ray\: tell the Curb at this address which processes are whose job'\''s, and what they use]:URL:_default' \
'--token-file=[The file with the agent'\''s token (curb token create --role agent --node NAME); read again when the server refuses it]:FILE:_files' \
'--node=[The node'\''s name, as the token has it \[default\: the host'\''s\]]:NAME:_default' \
'--cluster=[The cluster that the node belongs to \[default\: the server'\''s only one\]]:NAME:_default' \
'--listen=[Where /metrics, /healthz and /readyz are answered]:ADDRESS:PORT:_default' \
'--log=[How events are written to stderr, one a line]:FORM:((json\:"One JSON object a line"
text\:"In words"))' \
'--every=[From one look to the next]:TIME:_default' \
'--user=[The user to become where it is started by root \[default\: curb-agent, else nobody\]]:NAME:_default' \
'--leak-window=[Of such a time the least memory counts when it is looked for growth; twelve of them must have grown]:TIME:_default' \
'--settle=[After a start memory may grow for so long\: models are loaded then]:TIME:_default' \
'(--listen)--no-listen[Answer nowhere]' \
'--also-root[Confine processes of root too]' \
'--also-kept[Confine processes of services and containers too\: they are taken out of the groups in which these keep them]' \
'--watch-only[Confine nothing\: find, watch and tell]' \
'--once[Look once, write what was found to stdout as JSON, and change nothing]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(limits)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
":: :_curb__subcmd__limits_commands" \
"*::: :->limits" \
&& ret=0

    case $state in
    (limits)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-limits-command-$line[1]:"
        case $line[1] in
            (check)
_arguments "${_arguments_options[@]}" : \
'--host-memory=[Check for a host with so much memory \[default\: this host'\''s\]]:SIZE:_default' \
'--host-cpus=[Check for a host with so many CPUs \[default\: this host'\''s\]]:N:_default' \
'(--host-memory --host-cpus)--any-host[Compare with no host, as for a check in CI]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
'*::files -- The files; `-` reads stdin:_files' \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
'(--json)--yaml[As a file of limits, with every default written out]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':file -- The file; `-` reads stdin:_files' \
'::workload -- Only this workload:_default' \
&& ret=0
;;
(diff)
_arguments "${_arguments_options[@]}" : \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':old -- The file as it was; `-` reads stdin:_files' \
':new -- The file as it is:_files' \
&& ret=0
;;
(apply)
_arguments "${_arguments_options[@]}" : \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
':file -- The file; `-` reads stdin:_files' \
'::workload -- Only this workload:_default' \
&& ret=0
;;
(render)
_arguments "${_arguments_options[@]}" : \
'--to=[The form]:FORM:((systemd\:"A drop-in of a systemd service"
docker\:"A shell script that calls \`docker run\`"
compose\:"A Compose file to merge with one that names the image"
kubernetes\:"A Pod, to which an image has to be added"
ulimit\:"Lines for a shell, before the program"
launchd\:"A property list of launchd (macOS)"))' \
'--strict[End with 1 where something is not held as the file says]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':file -- The file; `-` reads stdin:_files' \
'::workload -- The workload \[default\: the only one of the file\]:_default' \
&& ret=0
;;
(recommend)
_arguments "${_arguments_options[@]}" : \
'--into=[Put them into this file of limits; made if it is not there]:FILE:_files' \
'--any-host[For any host\: do not compare with this one]' \
'-h[Print help]' \
'--help[Print help]' \
'*::baselines -- The baselines, one a workload:_files' \
&& ret=0
;;
(schema)
_arguments "${_arguments_options[@]}" : \
'--draft07[In draft 07, for editors that know no newer one]' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
        esac
    ;;
esac
;;
(audit)
_arguments "${_arguments_options[@]}" : \
'--fail-on=[From which severity on to exit with 1]:SEVERITY:((error\:"An error"
warning\:"A warning or worse"
never\:"Nothing"))' \
'(--sarif)--json[For programs\: all subjects with their limits, and the findings]' \
'--sarif[The findings as SARIF 2.1.0, for code scanning]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
":: :_curb__subcmd__audit_commands" \
"*::: :->audit" \
&& ret=0

    case $state in
    (audit)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-audit-command-$line[1]:"
        case $line[1] in
            (host)
_arguments "${_arguments_options[@]}" : \
'*--pid=[Only these processes, whatever they have loaded]:PID:_default' \
'--fail-on=[From which severity on to exit with 1]:SEVERITY:((error\:"An error"
warning\:"A warning or worse"
never\:"Nothing"))' \
'(--sarif)--json[For programs\: all subjects with their limits, and the findings]' \
'--sarif[The findings as SARIF 2.1.0, for code scanning]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(compose)
_arguments "${_arguments_options[@]}" : \
'--fail-on=[From which severity on to exit with 1]:SEVERITY:((error\:"An error"
warning\:"A warning or worse"
never\:"Nothing"))' \
'(--sarif)--json[For programs\: all subjects with their limits, and the findings]' \
'--sarif[The findings as SARIF 2.1.0, for code scanning]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::files -- The files; - is what comes on stdin:_files' \
&& ret=0
;;
(kubernetes)
_arguments "${_arguments_options[@]}" : \
'--fail-on=[From which severity on to exit with 1]:SEVERITY:((error\:"An error"
warning\:"A warning or worse"
never\:"Nothing"))' \
'(--sarif)--json[For programs\: all subjects with their limits, and the findings]' \
'--sarif[The findings as SARIF 2.1.0, for code scanning]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::files -- The files; - is what comes on stdin:_files' \
&& ret=0
;;
(systemd)
_arguments "${_arguments_options[@]}" : \
'--root=[Look for units below this directory instead of /]:DIR:_files' \
'--fail-on=[From which severity on to exit with 1]:SEVERITY:((error\:"An error"
warning\:"A warning or worse"
never\:"Nothing"))' \
'(--sarif)--json[For programs\: all subjects with their limits, and the findings]' \
'--sarif[The findings as SARIF 2.1.0, for code scanning]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::units -- Names of units, or their files:_default' \
&& ret=0
;;
(rules)
_arguments "${_arguments_options[@]}" : \
'--fail-on=[From which severity on to exit with 1]:SEVERITY:((error\:"An error"
warning\:"A warning or worse"
never\:"Nothing"))' \
'(--sarif)--json[For programs\: all subjects with their limits, and the findings]' \
'--sarif[The findings as SARIF 2.1.0, for code scanning]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'::rule -- The rule to explain:_default' \
&& ret=0
;;
        esac
    ;;
esac
;;
(profile)
_arguments "${_arguments_options[@]}" : \
'--workload=[The workload'\''s name \[default\: that of the program\]]:NAME:_default' \
'--scenario=[The scenario\: idle, average, peak, edge (more than planned\: it sets no limit) or any other name]:NAME:_default' \
'--repeat=[How often all of it is run]:N:_default' \
'--for=[How long each scenario is measured at most \[default for a server without a load\: 10s\]]:TIME:_default' \
'--load=[What drives the server\: a line for sh; the scenario is over when it ends]:CMD:_default' \
'*--then=[A further scenario on the same server, with its load; may be given often]:NAME[=CMD]:_default' \
'--ready=[When the server is ready\: a URL that answers with 200, a time, or \`listens\` \[default\: listens\]]:URL|TIME:_default' \
'--every=[From one look to the next]:TIME:_default' \
'--grace=[From being asked to end until it is killed]:TIME:_default' \
'--baseline=[Put the scenarios into this baseline; made if it is not there]:FILE:_files' \
'*--model=[A file of the model, beside those that are found among the arguments; may be given often]:FILE:_files' \
'--program-version=[The program'\''s version; without it, its file says whether it is another]:TEXT:_default' \
'--html=[Write a page with chart and figures]:FILE:_files' \
'--svg=[Write the chart]:FILE:_files' \
'--no-group[Make no control group\: add up what its processes have]' \
'--json[For programs\: JSON with stable names, amounts and times as whole numbers (see docs/openapi.json)]' \
'-h[Print help]' \
'--help[Print help]' \
'*::command -- The command and its arguments:_default' \
&& ret=0
;;
(top)
_arguments "${_arguments_options[@]}" : \
'--sort=[By what rows are ordered]:COLUMN:((memory\:"The most memory first"
headroom\:"The least left below its limit first"
cpu\:"The most CPU first"
name\:"By name"))' \
'--filter=[Only workloads with this in their name or framework]:TEXT:_default' \
'--interval=[From one look to the next, 200ms to 1m]:TIME:_default' \
'--once[Look twice, print the table, and end]' \
'--json[The same for programs, as JSON]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(drill)
_arguments "${_arguments_options[@]}" : \
'--limits=[The file of limits]:FILE:_files' \
'--memory=[Rehearse with this limit on memory in place of the file'\''s]:SIZE:_default' \
'--load=[What drives the workload'\''s own command meanwhile (for sh)]:COMMAND:_default' \
'--for=[For how long the workload'\''s own command is run]:TIME:_default' \
'--with-command[Rehearse with the workload'\''s own command as well\: it is really run, within its own limits and ladder]' \
'--json[For programs]' \
'-h[Print help]' \
'--help[Print help]' \
':workload -- The workload:_default' \
'*::command -- The command, in place of the file'\''s:_default' \
&& ret=0
;;
(drill-load)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
":: :_curb__subcmd__drill-load_commands" \
"*::: :->drill-load" \
&& ret=0

    case $state in
    (drill-load)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:curb-drill-load-command-$line[1]:"
        case $line[1] in
            (memory-to)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':bytes -- Bytes:_default' \
&& ret=0
;;
(memory-beyond)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':most -- Bytes:_default' \
&& ret=0
;;
(spin)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':threads -- Threads:_default' \
&& ret=0
;;
(threads)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':most -- Threads:_default' \
&& ret=0
;;
(files)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':most -- Files:_default' \
&& ret=0
;;
(wait)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(read)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(told)
_arguments "${_arguments_options[@]}" : \
'--lasts=[For how long at most, in milliseconds]:LASTS:_default' \
'-h[Print help]' \
'--help[Print help]' \
':file -- Which:_files' \
&& ret=0
;;
        esac
    ;;
esac
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
':shell -- Which shell\: bash, zsh or fish:(bash elvish fish powershell zsh)' \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
':dir -- Where to write them; made if it is not there:_files' \
&& ret=0
;;
(openapi)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
'*::topic -- A command such as `jobs stop`, `exit-codes`, `reason`, or `reason CODE`:_default' \
&& ret=0
;;
        esac
    ;;
esac
}

(( $+functions[_curb_commands] )) ||
_curb_commands() {
    local commands; commands=(
'init:Look at a Ray cluster and write a policy for it that refuses nothing yet' \
'serve:Run the server in front of Ray' \
'submit:Submit a job, follow its log, and end as the job ends' \
'jobs:List, show, stop and release jobs' \
'quota:Your limits and what is used of them' \
'usage:Resource-time that was granted, and how much of it lay idle' \
'explain:Would this job fit, and if not, why and when? Submits nothing' \
'override:Change limits for a time' \
'token:Make, list and revoke tokens' \
'policy:Check, show and apply policies' \
'enforce:Turn enforcement on or off, or see what it would change' \
'journal:Verify, follow and export the journal' \
'status:What the server does and knows, what is hard and what is watched' \
'run:Run a command on this host within limits that the kernel holds' \
'agent:Find workloads on this host, confine them, watch them and act at their limits, for good' \
'limits:Check, show and compare files of limits for workloads of a host' \
'audit:Are limits in place? For the processes of this host, or in files' \
'profile:Measure what a command on this host needs, as a baseline for its limits' \
'top:Watch the workloads of this host\: use, limits, what is left' \
'drill:Rehearse a workload'\''s limits\: does each of them do what the file says?' \
'drill-load:A stand-in of \`curb drill\`' \
'completions:Write completions for a shell to stdout' \
'man:Write the man pages to a directory' \
'openapi:Write the description of the HTTP API (OpenAPI 3.1) to stdout' \
'help:This help, that of a command, \`exit-codes\`, or \`reason CODE\`' \
    )
    _describe -t commands 'curb commands' commands "$@"
}
(( $+functions[_curb__subcmd__agent_commands] )) ||
_curb__subcmd__agent_commands() {
    local commands; commands=()
    _describe -t commands 'curb agent commands' commands "$@"
}
(( $+functions[_curb__subcmd__audit_commands] )) ||
_curb__subcmd__audit_commands() {
    local commands; commands=(
'host:The machine learning processes of this host (the default)' \
'compose:Compose files, merged in their order' \
'kubernetes:Kubernetes manifests, RayCluster, RayJob and RayService too' \
'systemd:systemd units, by name or file; those that run machine learning where none is named' \
'rules:The rules, or what one of them means' \
    )
    _describe -t commands 'curb audit commands' commands "$@"
}
(( $+functions[_curb__subcmd__audit__subcmd__compose_commands] )) ||
_curb__subcmd__audit__subcmd__compose_commands() {
    local commands; commands=()
    _describe -t commands 'curb audit compose commands' commands "$@"
}
(( $+functions[_curb__subcmd__audit__subcmd__host_commands] )) ||
_curb__subcmd__audit__subcmd__host_commands() {
    local commands; commands=()
    _describe -t commands 'curb audit host commands' commands "$@"
}
(( $+functions[_curb__subcmd__audit__subcmd__kubernetes_commands] )) ||
_curb__subcmd__audit__subcmd__kubernetes_commands() {
    local commands; commands=()
    _describe -t commands 'curb audit kubernetes commands' commands "$@"
}
(( $+functions[_curb__subcmd__audit__subcmd__rules_commands] )) ||
_curb__subcmd__audit__subcmd__rules_commands() {
    local commands; commands=()
    _describe -t commands 'curb audit rules commands' commands "$@"
}
(( $+functions[_curb__subcmd__audit__subcmd__systemd_commands] )) ||
_curb__subcmd__audit__subcmd__systemd_commands() {
    local commands; commands=()
    _describe -t commands 'curb audit systemd commands' commands "$@"
}
(( $+functions[_curb__subcmd__completions_commands] )) ||
_curb__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'curb completions commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill_commands] )) ||
_curb__subcmd__drill_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load_commands] )) ||
_curb__subcmd__drill-load_commands() {
    local commands; commands=(
'memory-to:Fill memory up to so many bytes, and stay there' \
'memory-beyond:Fill memory beyond the limit, to so many bytes at most' \
'spin:Compute on so many threads' \
'threads:Start threads, so many at most' \
'files:Open files, so many at most' \
'wait:Wait' \
'read:Read back the limits that it is in' \
'told:Make a file' \
    )
    _describe -t commands 'curb drill-load commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__files_commands] )) ||
_curb__subcmd__drill-load__subcmd__files_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load files commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__memory-beyond_commands] )) ||
_curb__subcmd__drill-load__subcmd__memory-beyond_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load memory-beyond commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__memory-to_commands] )) ||
_curb__subcmd__drill-load__subcmd__memory-to_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load memory-to commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__read_commands] )) ||
_curb__subcmd__drill-load__subcmd__read_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load read commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__spin_commands] )) ||
_curb__subcmd__drill-load__subcmd__spin_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load spin commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__threads_commands] )) ||
_curb__subcmd__drill-load__subcmd__threads_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load threads commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__told_commands] )) ||
_curb__subcmd__drill-load__subcmd__told_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load told commands' commands "$@"
}
(( $+functions[_curb__subcmd__drill-load__subcmd__wait_commands] )) ||
_curb__subcmd__drill-load__subcmd__wait_commands() {
    local commands; commands=()
    _describe -t commands 'curb drill-load wait commands' commands "$@"
}
(( $+functions[_curb__subcmd__enforce_commands] )) ||
_curb__subcmd__enforce_commands() {
    local commands; commands=()
    _describe -t commands 'curb enforce commands' commands "$@"
}
(( $+functions[_curb__subcmd__explain_commands] )) ||
_curb__subcmd__explain_commands() {
    local commands; commands=()
    _describe -t commands 'curb explain commands' commands "$@"
}
(( $+functions[_curb__subcmd__help_commands] )) ||
_curb__subcmd__help_commands() {
    local commands; commands=()
    _describe -t commands 'curb help commands' commands "$@"
}
(( $+functions[_curb__subcmd__init_commands] )) ||
_curb__subcmd__init_commands() {
    local commands; commands=()
    _describe -t commands 'curb init commands' commands "$@"
}
(( $+functions[_curb__subcmd__jobs_commands] )) ||
_curb__subcmd__jobs_commands() {
    local commands; commands=(
'list:List jobs\: those that are not over, newest first' \
'show:Show one job\: where it stands, what it waits for, who holds that' \
'stop:Stop a job, waiting or running' \
'release:Give back what a quarantined job holds\: you vouch that nothing of it runs any more' \
'exempt:Hold a job out of reach of ladders for a time (for operators)' \
    )
    _describe -t commands 'curb jobs commands' commands "$@"
}
(( $+functions[_curb__subcmd__jobs__subcmd__exempt_commands] )) ||
_curb__subcmd__jobs__subcmd__exempt_commands() {
    local commands; commands=()
    _describe -t commands 'curb jobs exempt commands' commands "$@"
}
(( $+functions[_curb__subcmd__jobs__subcmd__list_commands] )) ||
_curb__subcmd__jobs__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'curb jobs list commands' commands "$@"
}
(( $+functions[_curb__subcmd__jobs__subcmd__release_commands] )) ||
_curb__subcmd__jobs__subcmd__release_commands() {
    local commands; commands=()
    _describe -t commands 'curb jobs release commands' commands "$@"
}
(( $+functions[_curb__subcmd__jobs__subcmd__show_commands] )) ||
_curb__subcmd__jobs__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'curb jobs show commands' commands "$@"
}
(( $+functions[_curb__subcmd__jobs__subcmd__stop_commands] )) ||
_curb__subcmd__jobs__subcmd__stop_commands() {
    local commands; commands=()
    _describe -t commands 'curb jobs stop commands' commands "$@"
}
(( $+functions[_curb__subcmd__journal_commands] )) ||
_curb__subcmd__journal_commands() {
    local commands; commands=(
'verify:Walk the whole chain of hashes and tell the first thing that is wrong' \
'tail:Show the newest records, and go on as they come' \
'export:Write all records as lines that anybody can verify with SHA-256 alone' \
'backup:Copy the journal and the packages to a new directory, beside a running server' \
    )
    _describe -t commands 'curb journal commands' commands "$@"
}
(( $+functions[_curb__subcmd__journal__subcmd__backup_commands] )) ||
_curb__subcmd__journal__subcmd__backup_commands() {
    local commands; commands=()
    _describe -t commands 'curb journal backup commands' commands "$@"
}
(( $+functions[_curb__subcmd__journal__subcmd__export_commands] )) ||
_curb__subcmd__journal__subcmd__export_commands() {
    local commands; commands=()
    _describe -t commands 'curb journal export commands' commands "$@"
}
(( $+functions[_curb__subcmd__journal__subcmd__tail_commands] )) ||
_curb__subcmd__journal__subcmd__tail_commands() {
    local commands; commands=()
    _describe -t commands 'curb journal tail commands' commands "$@"
}
(( $+functions[_curb__subcmd__journal__subcmd__verify_commands] )) ||
_curb__subcmd__journal__subcmd__verify_commands() {
    local commands; commands=()
    _describe -t commands 'curb journal verify commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits_commands] )) ||
_curb__subcmd__limits_commands() {
    local commands; commands=(
'check:Find everything that is wrong or doubtful in a file of limits' \
'show:Show each limit with its reason, and what holds it' \
'diff:Tell what is different between two files of limits' \
'apply:Give what runs the limits of the file' \
'render:Write the limits of a workload in the form of another tool' \
'recommend:Recommend limits from baselines, each number explained' \
'schema:Print the JSON Schema of the file of limits, for editors' \
    )
    _describe -t commands 'curb limits commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits__subcmd__apply_commands] )) ||
_curb__subcmd__limits__subcmd__apply_commands() {
    local commands; commands=()
    _describe -t commands 'curb limits apply commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits__subcmd__check_commands] )) ||
_curb__subcmd__limits__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'curb limits check commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits__subcmd__diff_commands] )) ||
_curb__subcmd__limits__subcmd__diff_commands() {
    local commands; commands=()
    _describe -t commands 'curb limits diff commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits__subcmd__recommend_commands] )) ||
_curb__subcmd__limits__subcmd__recommend_commands() {
    local commands; commands=()
    _describe -t commands 'curb limits recommend commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits__subcmd__render_commands] )) ||
_curb__subcmd__limits__subcmd__render_commands() {
    local commands; commands=()
    _describe -t commands 'curb limits render commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits__subcmd__schema_commands] )) ||
_curb__subcmd__limits__subcmd__schema_commands() {
    local commands; commands=()
    _describe -t commands 'curb limits schema commands' commands "$@"
}
(( $+functions[_curb__subcmd__limits__subcmd__show_commands] )) ||
_curb__subcmd__limits__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'curb limits show commands' commands "$@"
}
(( $+functions[_curb__subcmd__man_commands] )) ||
_curb__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'curb man commands' commands "$@"
}
(( $+functions[_curb__subcmd__openapi_commands] )) ||
_curb__subcmd__openapi_commands() {
    local commands; commands=()
    _describe -t commands 'curb openapi commands' commands "$@"
}
(( $+functions[_curb__subcmd__override_commands] )) ||
_curb__subcmd__override_commands() {
    local commands; commands=(
'add:Give somebody more, or less, for a time' \
'list:List those in force' \
'remove:Take one back before its time' \
    )
    _describe -t commands 'curb override commands' commands "$@"
}
(( $+functions[_curb__subcmd__override__subcmd__add_commands] )) ||
_curb__subcmd__override__subcmd__add_commands() {
    local commands; commands=()
    _describe -t commands 'curb override add commands' commands "$@"
}
(( $+functions[_curb__subcmd__override__subcmd__list_commands] )) ||
_curb__subcmd__override__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'curb override list commands' commands "$@"
}
(( $+functions[_curb__subcmd__override__subcmd__remove_commands] )) ||
_curb__subcmd__override__subcmd__remove_commands() {
    local commands; commands=()
    _describe -t commands 'curb override remove commands' commands "$@"
}
(( $+functions[_curb__subcmd__policy_commands] )) ||
_curb__subcmd__policy_commands() {
    local commands; commands=(
'check:Find everything that is wrong or doubtful in a policy file' \
'schema:Print the JSON Schema of the policy file, for editors' \
'show:Print a policy with every default written out\: a file, or the one in force' \
'apply:Put a policy in force on the server' \
    )
    _describe -t commands 'curb policy commands' commands "$@"
}
(( $+functions[_curb__subcmd__policy__subcmd__apply_commands] )) ||
_curb__subcmd__policy__subcmd__apply_commands() {
    local commands; commands=()
    _describe -t commands 'curb policy apply commands' commands "$@"
}
(( $+functions[_curb__subcmd__policy__subcmd__check_commands] )) ||
_curb__subcmd__policy__subcmd__check_commands() {
    local commands; commands=()
    _describe -t commands 'curb policy check commands' commands "$@"
}
(( $+functions[_curb__subcmd__policy__subcmd__schema_commands] )) ||
_curb__subcmd__policy__subcmd__schema_commands() {
    local commands; commands=()
    _describe -t commands 'curb policy schema commands' commands "$@"
}
(( $+functions[_curb__subcmd__policy__subcmd__show_commands] )) ||
_curb__subcmd__policy__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'curb policy show commands' commands "$@"
}
(( $+functions[_curb__subcmd__profile_commands] )) ||
_curb__subcmd__profile_commands() {
    local commands; commands=()
    _describe -t commands 'curb profile commands' commands "$@"
}
(( $+functions[_curb__subcmd__quota_commands] )) ||
_curb__subcmd__quota_commands() {
    local commands; commands=()
    _describe -t commands 'curb quota commands' commands "$@"
}
(( $+functions[_curb__subcmd__run_commands] )) ||
_curb__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'curb run commands' commands "$@"
}
(( $+functions[_curb__subcmd__serve_commands] )) ||
_curb__subcmd__serve_commands() {
    local commands; commands=()
    _describe -t commands 'curb serve commands' commands "$@"
}
(( $+functions[_curb__subcmd__status_commands] )) ||
_curb__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'curb status commands' commands "$@"
}
(( $+functions[_curb__subcmd__submit_commands] )) ||
_curb__subcmd__submit_commands() {
    local commands; commands=()
    _describe -t commands 'curb submit commands' commands "$@"
}
(( $+functions[_curb__subcmd__token_commands] )) ||
_curb__subcmd__token_commands() {
    local commands; commands=(
'create:Make a token and print it, once\: only its hash is kept' \
'list:List tokens, without their secrets' \
'revoke:Revoke a token' \
    )
    _describe -t commands 'curb token commands' commands "$@"
}
(( $+functions[_curb__subcmd__token__subcmd__create_commands] )) ||
_curb__subcmd__token__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'curb token create commands' commands "$@"
}
(( $+functions[_curb__subcmd__token__subcmd__list_commands] )) ||
_curb__subcmd__token__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'curb token list commands' commands "$@"
}
(( $+functions[_curb__subcmd__token__subcmd__revoke_commands] )) ||
_curb__subcmd__token__subcmd__revoke_commands() {
    local commands; commands=()
    _describe -t commands 'curb token revoke commands' commands "$@"
}
(( $+functions[_curb__subcmd__top_commands] )) ||
_curb__subcmd__top_commands() {
    local commands; commands=()
    _describe -t commands 'curb top commands' commands "$@"
}
(( $+functions[_curb__subcmd__usage_commands] )) ||
_curb__subcmd__usage_commands() {
    local commands; commands=()
    _describe -t commands 'curb usage commands' commands "$@"
}

if [ "$funcstack[1]" = "_curb" ]; then
    _curb "$@"
else
    compdef _curb curb
fi
