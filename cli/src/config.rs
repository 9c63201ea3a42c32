// SPDX-License-Identifier: Apache-2.0
//! `biplane config`: what holds, why, and what could be said.

use biplane::Result;
use biplane::config::{EnvVar, Setting, Source, variables};
use biplane::registry::TransportRegistry;
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::Exit;
use crate::ui::{Cell, Style, Table};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane config
    biplane --config prod.toml config --check
    biplane config --list

Without an option: every key with its value and where that came from, secrets redacted.")]
pub(crate) struct ConfigArgs {
    /// List every variable with what it takes, its default and its meaning
    #[arg(long, conflicts_with = "check")]
    list: bool,
    /// Check only: exit code 0, or 2 with everything that is wrong
    #[arg(long)]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: ConfigArgs, context: &Context) -> Result<Exit> {
    if args.list {
        return list(args.json, context);
    }
    let biplane = context.biplane()?;
    let settings = biplane.settings();
    if args.check {
        context.ui().note("the configuration is sound");
    } else if args.json {
        context.ui().print_json(&settings.iter().map(setting_json).collect::<Vec<_>>())?;
    } else {
        context.ui().print_table(&table(settings))?;
    }
    Ok(Exit::OK)
}

/// Every variable that the core and what is linked read. Reads no configuration, so that a broken one is no hindrance.
fn list(json: bool, context: &Context) -> Result<Exit> {
    let registry = TransportRegistry::builder().collected()?.build()?;
    let mut rows: Vec<&EnvVar> = variables().iter().collect();
    for row in registry.registrations().iter().flat_map(|registration| registration.env) {
        // The registrations of one transport share its rows.
        if !row.name.is_empty() && rows.iter().all(|known| known.name != row.name) {
            rows.push(row);
        }
    }
    if json {
        context.ui().print_json(&rows.into_iter().map(variable_json).collect::<Vec<_>>())?;
        return Ok(Exit::OK);
    }
    for row in rows {
        let paints = context.ui().paints_stdout();
        let default = if row.default.is_empty() { "unset" } else { row.default };
        let secret = if row.secret { ", a secret" } else { "" };
        let name = Style::Head.paint(row.name, paints);
        let takes = Style::Dim.paint(&format!("takes {}{secret}; default: {default}", row.kind.expectation()), paints);
        context.ui().print(format!("{name}\n    {}\n    {takes}\n", row.doc))?;
    }
    Ok(Exit::OK)
}

fn table(settings: &[Setting]) -> Table {
    let mut table = Table::new(["KEY", "VALUE", "SOURCE", "VARIABLE"]);
    for setting in settings {
        let key = if setting.path.is_empty() { "(file)" } else { &setting.path };
        let value =
            if setting.value.is_empty() { Cell::styled("unset", Style::Dim) } else { setting.value.as_str().into() };
        let style = if setting.source == Source::Default { Style::Dim } else { Style::Good };
        table.row([
            key.into(),
            value,
            Cell::styled(setting.source.to_string(), style),
            Cell::styled(setting.variable.unwrap_or_default(), Style::Dim),
        ]);
    }
    table
}

fn setting_json(setting: &Setting) -> Value {
    let (source, name) = match &setting.source {
        Source::Default => ("default", None),
        Source::File(path) => ("file", Some(path.display().to_string())),
        Source::Env(variable) => ("environment", Some(variable.clone())),
        Source::Code => ("code", None),
    };
    json!({
        "key": setting.path,
        "variable": setting.variable,
        "value": setting.value,
        "source": source,
        "source_name": name,
    })
}

fn variable_json(row: &EnvVar) -> Value {
    json!({
        "variable": row.name,
        "key": row.path,
        "takes": row.kind.expectation(),
        "default": row.default,
        "meaning": row.doc,
        "secret": row.secret,
    })
}
