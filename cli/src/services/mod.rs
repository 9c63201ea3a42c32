// SPDX-License-Identifier: Apache-2.0
//! `biplane services`: what discovery holds.

use biplane::discovery::Instance;
use biplane::{Error, Result, ServiceName, TransportId};
use serde::Serialize;

use self::reach::{Reach, reach_all};
use crate::context::Context;
use crate::exit::Exit;
use crate::ui::{Cell, Style, Table};

mod reach;

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
    biplane services
    biplane services --json
    biplane services weight words 7587886113 10

REACHED says whether a TCP connection to the address succeeded just now, within 300 ms; `-` is an address without a port.
What is listed is alive as discovery sees it: a record dies with its process or its lease."
)]
pub(crate) struct ServicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Changes the share of requests of a running instance
    Weight {
        /// The service
        name: String,
        /// The instance, as `biplane services` lists it
        id: u64,
        /// 0 to 100, relative to the other instances
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        weight: u8,
    },
}

pub(crate) async fn run(args: ServicesArgs, context: &Context) -> Result<Exit> {
    let biplane = context.biplane()?;
    let discovery = biplane.discovery()?;
    if let Some(Action::Weight { name, id, weight }) = args.action {
        let name: ServiceName = name.parse()?;
        if !discovery.set_weight(&name, id, weight).await? {
            return Err(Error::no_service(format!("no instance {id} of {name} is published"))
                .with_hint("`biplane services` lists those that are"));
        }
        context.ui().note(format_args!("instance {id} of {name} has weight {weight}"));
        return Ok(Exit::OK);
    }
    let instances = discovery.list().await?;
    let reached = reach_all(&instances).await;
    let rows: Vec<Row> = instances.iter().map(|instance| Row::new(instance, &reached)).collect();
    if args.json {
        context.ui().print_json(&rows)?;
    } else if rows.is_empty() {
        context
            .ui()
            .note(format_args!("no service is published in discovery `{}`", biplane.config().discovery.backend));
    } else {
        context.ui().print_table(&table(&rows))?;
    }
    Ok(Exit::OK)
}

/// An instance, as JSON has it.
#[derive(Serialize)]
struct Row {
    name: String,
    instance_id: u64,
    weight: u8,
    request_transports: Vec<Place>,
    response_transports: Vec<TransportId>,
}

/// Where an instance takes requests.
#[derive(Serialize)]
struct Place {
    transport_id: TransportId,
    address: String,
    /// `null` where an address has no port to try.
    reached: Reach,
}

impl Row {
    fn new(instance: &Instance, reached: &reach::Reached) -> Self {
        let places = instance.request_endpoints().into_iter().map(|endpoint| Place {
            reached: reached.of(&endpoint.address.address),
            transport_id: endpoint.address.transport,
            address: endpoint.address.address,
        });
        Self {
            name: instance.name.to_string(),
            instance_id: instance.instance_id,
            weight: instance.weight,
            request_transports: places.collect(),
            response_transports: instance.response_transports(),
        }
    }
}

/// One line for each place; what it shares with the line above is left out.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["SERVICE", "INSTANCE", "#WEIGHT", "PLANE", "ADDRESS", "REACHED", "ANSWERS"]);
    for row in rows {
        let answers = row.response_transports.iter().map(TransportId::as_str).collect::<Vec<_>>().join(",");
        for (at, place) in row.request_transports.iter().enumerate() {
            let reached = match place.reached {
                Some(true) => Cell::styled("yes", Style::Good),
                Some(false) => Cell::styled("no", Style::Bad),
                None => Cell::styled("-", Style::Dim),
            };
            let first = |text: String| if at == 0 { Cell::from(text) } else { Cell::default() };
            table.row([
                first(row.name.clone()),
                first(row.instance_id.to_string()),
                first(row.weight.to_string()),
                place.transport_id.as_str().into(),
                place.address.as_str().into(),
                reached,
                first(answers.clone()),
            ]);
        }
    }
    table
}
