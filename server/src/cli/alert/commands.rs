//! What there is to be asked for: the commands of `amtool` and of `narthex alert`, with their flags.

use super::line::{Args, COMMAND, Command, Flag, Kind, Task};

/// How times are printed where nothing else is said, in Go's layout notation.
pub(super) const DATE_FORMAT: &str = "2006-01-02 15:04:05 MST";

const GLOBAL_FLAGS: &[Flag] = &[
    Flag::new("help", Kind::Switch, "Show help.").short('h'),
    Flag::new("version", Kind::Switch, "Show the version."),
    Flag::new(
        "date.format",
        Kind::Text,
        "How times are printed, in Go's layout notation.",
    )
    .default(DATE_FORMAT),
    Flag::new("verbose", Kind::Switch, "Say more of what is done.").short('v'),
    Flag::new(
        "alertmanager.url",
        Kind::Url,
        "Where the Alertmanager is, as http://localhost:9093; needed here or in the file of settings.",
    ),
    Flag::new(
        "output",
        Kind::Word(&["simple", "extended", "json"]),
        "Form of the output: simple, extended or json.",
    )
    .short('o')
    .default("simple"),
    Flag::new("timeout", Kind::Duration, "Longest time for the command to take.").default("30s"),
    Flag::new(
        "http.config.file",
        Kind::File,
        "File of HTTP client settings: credentials, TLS, proxy.",
    ),
    Flag::new(
        "version-check",
        Kind::Switch,
        "Warn of a server of another version.",
    )
    .default("true"),
    Flag::new(
        "enable-feature",
        Kind::Text,
        "Comma-separated names of features to turn on: classic-mode or utf8-strict-mode; others are accepted.",
    ),
];

/// `amtool`.
pub(super) const AMTOOL: Command = Command {
    name: "amtool",
    help: HELP,
    flags: GLOBAL_FLAGS,
    commands: &[ALERT, SILENCE, CHECK_CONFIG, CLUSTER, CONFIG, TEMPLATE],
    ..COMMAND
};

/// `narthex alert`: the same, and what only we have.
pub(super) const NARTHEX: Command = Command {
    name: "narthex alert",
    help: HELP,
    flags: GLOBAL_FLAGS,
    commands: &[
        QUERY_ALERTS,
        ADD_ALERT,
        HISTORY,
        Command {
            hidden: true,
            ..ALERT
        },
        Command {
            commands: &[
                ADD_RECURRING_SILENCE,
                EXPIRE_SILENCES,
                IMPORT_SILENCES,
                QUERY_SILENCES,
                UPDATE_SILENCES,
            ],
            ..SILENCE
        },
        CHECK_CONFIG,
        CLUSTER,
        CONFIG,
        TEMPLATE,
        PREVIEW,
        TEST_SEND,
    ],
    ..COMMAND
};

const HELP: &str = "\
Look at, and change, what an Alertmanager knows.

Values for flags may stand in $HOME/.config/amtool/config.yml or /etc/amtool/config.yml, by the flags' names:

    alertmanager.url: http://localhost:9093
    author: me@example.org       whose silences are; the user's name otherwise
    comment_required: true       whether silences need a comment
    output: extended
    date.format: 2006-01-02 15:04:05 MST
    http.config.file: /etc/amtool/http.yml";

const ALERT: Command = Command {
    name: "alert",
    help: "Add or query alerts.",
    asks_server: true,
    commands: &[
        ADD_ALERT,
        Command {
            is_default: true,
            ..QUERY_ALERTS
        },
    ],
    ..COMMAND
};

const MATCHERS: Option<Args> = Some(Args {
    name: "matchers",
    help: "What labels are like: name=value, name!=value, name=~regex, name!~regex. A first word that is none is an alertname.",
    many: true,
    files: false,
});

const QUERY_ALERTS: Command = Command {
    name: "query",
    help: "\
Show alerts: without flags the active ones.

    amtool alert query alertname=foo node=bar
    amtool alert query foo node=bar             the same
    amtool alert query 'alertname=~foo.*'",
    asks_server: true,
    flags: &[
        Flag::new("inhibited", Kind::Switch, "Show inhibited alerts.").short('i'),
        Flag::new("silenced", Kind::Switch, "Show silenced alerts.").short('s'),
        Flag::new("active", Kind::Switch, "Show active alerts.").short('a'),
        Flag::new("unprocessed", Kind::Switch, "Show unprocessed alerts.").short('u'),
        Flag::new(
            "receiver",
            Kind::Text,
            "Show alerts of receivers that match this expression.",
        )
        .short('r'),
    ],
    args: MATCHERS,
    task: Some(Task::QueryAlerts),
    ..COMMAND
};

const ADD_ALERT: Command = Command {
    name: "add",
    help: "\
Add an alert.

    amtool alert add alertname=foo node=bar
    amtool alert add foo node=bar               the same
    amtool alert add foo --annotation=summary='what it is about'",
    asks_server: true,
    flags: &[
        Flag::new(
            "generator-url",
            Kind::Text,
            "Page that shows where the alert comes from.",
        ),
        Flag::new(
            "start",
            Kind::Text,
            "When it starts, as 2006-01-02T15:04:05-07:00.",
        ),
        Flag::new("end", Kind::Text, "When it ends, as 2006-01-02T15:04:05-07:00."),
        Flag::new(
            "annotation",
            Kind::Texts,
            "An annotation: name=value. Can be repeated.",
        ),
    ],
    args: Some(Args {
        name: "labels",
        help: "The alert's labels: name=value. A first word that is none is the alertname.",
        many: true,
        files: false,
    }),
    task: Some(Task::AddAlert),
    ..COMMAND
};

const HISTORY: Command = Command {
    name: "history",
    help: "\
Show what happened to alerts, notifications and silences, and why, newest first.

    narthex alert history Down instance=db1          what became of these alerts
    narthex alert history --receiver=team --since=8h what a receiver was told, and what not
    narthex alert history --kind=silence             who has silenced what

Only Narthex keeps a history.",
    asks_server: true,
    flags: &[
        Flag::new(
            "receiver",
            Kind::Text,
            "Show what is about receivers that match this expression.",
        )
        .short('r'),
        Flag::new(
            "kind",
            Kind::Texts,
            "Show events of this kind: alert, notification, suppressed or silence. Can be repeated.",
        ),
        Flag::new("since", Kind::Duration, "Show what happened within this time."),
        Flag::new(
            "start",
            Kind::Text,
            "Show what happened from then on, as 2006-01-02T15:04:05-07:00.",
        ),
        Flag::new(
            "end",
            Kind::Text,
            "Show what happened until then, as 2006-01-02T15:04:05-07:00.",
        ),
        Flag::new("limit", Kind::Number, "Most events to show.").default("100"),
    ],
    args: MATCHERS,
    task: Some(Task::QueryHistory),
    ..COMMAND
};

const PREVIEW: Command = Command {
    name: "preview",
    help: "\
Show what a receiver would send, by the configuration in force, or send it.

    narthex alert preview --receiver=team                     of a made-up alert
    narthex alert preview --receiver=team Down instance=db1   of alerts that fire
    narthex alert preview --receiver=team --send              sends it, once

Only Narthex can be asked.",
    asks_server: true,
    flags: &[
        Flag::new("receiver", Kind::Text, "Whose notification.")
            .short('r')
            .required(),
        Flag::new("integration", Kind::Text, "Only this one: slack[0]."),
        Flag::new(
            "sample",
            Kind::Word(&["firing", "resolved", "several", "bare"]),
            "Which made-up alerts: firing, resolved, several, or bare, without annotations.",
        ),
        Flag::new(
            "template",
            Kind::Text,
            "A template to be rendered in the place of the receiver's.",
        ),
        Flag::new("send", Kind::Switch, "Send it, and say what became of it."),
    ],
    args: MATCHERS,
    task: Some(Task::Preview),
    ..COMMAND
};

const SILENCE: Command = Command {
    name: "silence",
    help: "Add, change, expire or query silences.",
    asks_server: true,
    commands: &[
        ADD_SILENCE,
        EXPIRE_SILENCES,
        IMPORT_SILENCES,
        QUERY_SILENCES,
        UPDATE_SILENCES,
    ],
    ..COMMAND
};

const START: Flag = Flag::new(
    "start",
    Kind::Text,
    "When it starts, as 2006-01-02T15:04:05-07:00.",
);
const END: Flag = Flag::new(
    "end",
    Kind::Text,
    "When it ends, as 2006-01-02T15:04:05-07:00; overrides the duration.",
);
const COMMENT: Flag = Flag::new("comment", Kind::Text, "What it is for.").short('c');
const QUIET: Flag = Flag::new("quiet", Kind::Switch, "Show ids only.").short('q');

const ADD_SILENCE_FLAGS: [Flag; 7] = [
    Flag::new(
        "author",
        Kind::Text,
        "Whose silence it is. Default: the user's name.",
    )
    .short('a'),
    Flag::new(
        "require-comment",
        Kind::Switch,
        "Whether there must be a comment.",
    )
    .default("true")
    .hidden(),
    Flag::new("duration", Kind::Text, "How long it lasts.")
        .short('d')
        .default("1h"),
    START,
    END,
    COMMENT,
    Flag::new(
        "annotation",
        Kind::Texts,
        "An annotation: name=value. Can be repeated.",
    ),
];

const ADD_SILENCE: Command = Command {
    name: "add",
    help: "\
Add a silence, and print its id.

    amtool silence add alertname=foo node=bar -c 'new disks'
    amtool silence add foo node=bar -c 'new disks'             the same
    amtool silence add 'alertname=~foo.*' -c 'new disks' -d 2h",
    flags: &ADD_SILENCE_FLAGS,
    args: MATCHERS,
    task: Some(Task::AddSilence),
    ..COMMAND
};

/// The same, and what only we have.
const ADD_RECURRING_SILENCE: Command = Command {
    help: "\
Add a silence, and print its id.

    narthex alert silence add alertname=foo node=bar -c 'new disks'
    narthex alert silence add foo node=bar -c 'new disks'      the same
    narthex alert silence add 'alertname=~foo.*' -c 'new disks' -d 2h
    narthex alert silence add foo -c backups -d 90d --recurring='sat,sun 02:00-04:00' --time-zone=Europe/Berlin",
    flags: &{
        let [a, b, c, d, e, f, g] = ADD_SILENCE_FLAGS;
        [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            Flag::new(
                "recurring",
                Kind::Texts,
                "When it silences, within its duration: days, times of day or both, as in 'sat,sun', '22:00-06:00' or \
                 'mon-fri 02:00-04:00', or a time interval as in the configuration, in braces. Can be repeated. Only \
                 Narthex knows of it: others silence all the time.",
            ),
            Flag::new(
                "time-zone",
                Kind::Text,
                "Where these times are those of the clock: Europe/Berlin. Default: UTC.",
            ),
        ]
    },
    ..ADD_SILENCE
};

const EXPIRE_SILENCES: Command = Command {
    name: "expire",
    help: "Expire silences.",
    args: Some(Args {
        name: "silence-ids",
        help: "Which silences.",
        many: true,
        files: false,
    }),
    task: Some(Task::ExpireSilences),
    ..COMMAND
};

const IMPORT_SILENCES: Command = Command {
    name: "import",
    help: "\
Import silences, and print their ids.

    amtool silence query -o json foo > foo.json
    amtool silence import foo.json

Without a file, silences are read from standard input.",
    flags: &[
        Flag::new(
            "force",
            Kind::Switch,
            "Make new silences of all, whatever their ids.",
        )
        .short('f'),
        Flag::new("worker", Kind::Number, "How many to send at the same time.")
            .short('w')
            .default("8"),
    ],
    args: Some(Args {
        name: "input-file",
        help: "JSON as `silence query -o json` prints it.",
        many: false,
        files: true,
    }),
    task: Some(Task::ImportSilences),
    ..COMMAND
};

const QUERY_SILENCES: Command = Command {
    name: "query",
    help: "\
Show silences, those that have not expired.

    amtool silence query foo node=bar           by their matchers
    amtool silence query --within=8h            that end within 8 hours
    amtool silence query --within=2h --expired  that have ended within 2 hours",
    is_default: true,
    flags: &[
        Flag::new("expired", Kind::Switch, "Show expired silences instead."),
        QUIET,
        Flag::new("created-by", Kind::Text, "Show this author's silences."),
        Flag::new("id", Kind::Text, "Show this silence."),
        Flag::new(
            "within",
            Kind::Duration,
            "Show silences that end, or have ended, within this time.",
        ),
    ],
    args: MATCHERS,
    task: Some(Task::QuerySilences),
    ..COMMAND
};

const UPDATE_SILENCES: Command = Command {
    name: "update",
    help: "Change silences.",
    flags: &[
        QUIET,
        Flag::new("duration", Kind::Text, "How long it lasts, from its start.").short('d'),
        START,
        END,
        COMMENT,
    ],
    args: Some(Args {
        name: "update-ids",
        help: "Which silences.",
        many: true,
        files: false,
    }),
    task: Some(Task::UpdateSilences),
    ..COMMAND
};

const CHECK_CONFIG: Command = Command {
    name: "check-config",
    help: "\
Check configuration files of an Alertmanager, and the templates that they name.

Without a file, standard input is checked. Templates that are not there are no mistake.",
    args: Some(Args {
        name: "check-files",
        help: "Configuration files.",
        many: true,
        files: true,
    }),
    task: Some(Task::CheckConfig),
    ..COMMAND
};

const CLUSTER: Command = Command {
    name: "cluster",
    help: "Show the state of a cluster and its members.",
    commands: &[Command {
        name: "show",
        help: "Show the state of a cluster and its members.",
        is_default: true,
        asks_server: true,
        task: Some(Task::ShowCluster),
        ..COMMAND
    }],
    ..COMMAND
};

const CONFIG: Command = Command {
    name: "config",
    help: "Show the configuration in force, and where alerts go by it.",
    commands: &[
        Command {
            name: "show",
            help: "\
Show the configuration in force.

    --output=simple      the configuration
    --output=extended    and the version, and since when the server runs
    --output=json        all that the server says of itself",
            is_default: true,
            asks_server: true,
            task: Some(Task::ShowConfig),
            ..COMMAND
        },
        ROUTES,
    ],
    ..COMMAND
};

const ROUTES: Command = Command {
    name: "routes",
    help: "Show the routing tree of a server, or of a file.",
    flags: &[Flag::new(
        "config.file",
        Kind::File,
        "Configuration file; overrides the server.",
    )],
    commands: &[
        Command {
            name: "show",
            help: "Show the routing tree of a server, or of a file.",
            is_default: true,
            task: Some(Task::ShowRoutes),
            ..COMMAND
        },
        Command {
            name: "test",
            help: "\
Show which receivers an alert comes to.

    amtool config routes test --config.file=alertmanager.yml --verify.receivers=db-pager team=db",
            flags: &[
                Flag::new(
                    "verify.receivers",
                    Kind::Text,
                    "Fail unless these, with commas, are the receivers.",
                ),
                Flag::new("tree", Kind::Switch, "Show the nodes that it passes."),
            ],
            args: Some(Args {
                name: "labels",
                help: "The alert's labels: name=value.",
                many: true,
                files: false,
            }),
            task: Some(Task::TestRoutes),
            ..COMMAND
        },
    ],
    ..COMMAND
};

const TEMPLATE: Command = Command {
    name: "template",
    help: "Render templates.",
    commands: &[Command {
        name: "render",
        help: "\
Render a text with the templates of files.

    amtool template render --template.glob='*.tmpl' --template.text='{{ template \"x\" . }}'",
        flags: &[
            Flag::new(
                "template.glob",
                Kind::Texts,
                "Files of templates. Can be repeated.",
            )
            .required(),
            Flag::new("template.text", Kind::Text, "What to render.").required(),
            Flag::new(
                "template.type",
                Kind::Word(&["html", "text"]),
                "text, or html to escape values.",
            ),
            Flag::new(
                "template.data",
                Kind::OpenFile,
                "JSON of what templates see, as webhooks get it. Default: two made-up alerts.",
            ),
        ],
        task: Some(Task::RenderTemplate),
        ..COMMAND
    }],
    ..COMMAND
};

const TEST_SEND: Command = Command {
    name: "test-send",
    help: "\
Send one notification by a receiver of a configuration, and say what became of it.

    narthex alert test-send --config.file=alertmanager.yml --receiver=db-pager
    narthex alert test-send --config.file=alertmanager.yml --receiver=db-pager --template-only

Each of the receiver's integrations is tried once. Routes, silences and the log of notifications are left out.",
    flags: &[
        Flag::new("config.file", Kind::File, "Configuration file.").required(),
        Flag::new("receiver", Kind::Text, "Name of the receiver.").required(),
        Flag::new("template-only", Kind::Switch, "Send nothing; show what the receiver's templates make of the alerts."),
        Flag::new("alerts", Kind::File, "JSON of the alerts to tell of, as they are posted. Default: a made-up one."),
        Flag::new("external-url", Kind::Text, "Where links in notifications lead.").default("http://localhost:9093"),
    ],
    task: Some(Task::SendTest),
    ..COMMAND
};
