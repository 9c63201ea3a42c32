// SPDX-License-Identifier: Apache-2.0
//! `biplane transports`: what is registered.

use biplane::capability::TransportCapabilities;
use biplane::config::units::format_size;
use biplane::registry::{TransportRegistration, TransportRegistry};
use biplane::{PlaneType, Result, TransportId};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::ui::{Cell, Style, Table};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
    biplane transports
    biplane transports --json

A lower priority number wins. ORIGIN is the crate that registered the transport.")]
pub(crate) struct TransportsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks no configuration: what is linked does not depend on it, and a broken one is often why somebody asks.
pub(crate) fn run(args: TransportsArgs, context: &Context) -> Result<Exit> {
    let registry = TransportRegistry::builder().collected()?.build()?;
    if args.json {
        let rows: Vec<Row> = registry.registrations().iter().map(Row::new).collect();
        context.ui().print_json(&rows)?;
    } else {
        context.ui().print_table(&table(registry.registrations()))?;
    }
    Ok(Exit::OK)
}

#[derive(Serialize)]
struct Row {
    plane: PlaneType,
    transport_id: TransportId,
    schemes: &'static [&'static str],
    /// `null` for discovery, which carries nothing.
    capabilities: Option<TransportCapabilities>,
    priority: u16,
    elected_by: Option<&'static str>,
    origin: &'static str,
}

impl Row {
    fn new(registration: &TransportRegistration) -> Self {
        Self {
            plane: registration.plane(),
            transport_id: registration.id(),
            schemes: registration.schemes,
            capabilities: (registration.plane() != PlaneType::Discovery).then_some(registration.capabilities),
            priority: registration.priority,
            elected_by: registration.elected_by,
            origin: registration.origin,
        }
    }
}

fn table(registrations: &[TransportRegistration]) -> Table {
    let mut table = Table::new(["PLANE", "ID", "SCHEMES", "CAPABILITIES", "#PRIORITY", "ORIGIN"]);
    for registration in registrations {
        table.row([
            Cell::from(registration.plane().as_str()),
            registration.transport_id.into(),
            registration.schemes.join(",").into(),
            capabilities(registration).into(),
            registration.priority.to_string().into(),
            Cell::styled(registration.origin, Style::Dim),
        ]);
    }
    table
}

/// The claims in the words of `explain --need`, as far as there are such words.
fn capabilities(registration: &TransportRegistration) -> String {
    let claims = &registration.capabilities;
    if registration.plane() == PlaneType::Discovery {
        return String::new();
    }
    let mut words = vec![format!("{:?}", claims.exchange).to_lowercase()];
    words.push(format!("shared by {:?}", claims.sharing).to_lowercase());
    if claims.rendezvous != biplane::capability::Rendezvous::NONE {
        words.push(claims.rendezvous.to_string());
    }
    if claims.persistent_connections {
        words.push("persistent".to_owned());
    }
    if claims.server_push {
        words.push("server_push".to_owned());
    }
    if let Some(limit) = claims.max_message_size {
        words.push(format!("at most {}", format_size(limit)));
    }
    words.join(", ")
}
