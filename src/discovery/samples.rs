// SPDX-License-Identifier: Apache-2.0
//! Instances for the tests of this module.

use std::collections::HashMap;

use super::{Instance, TransportEndpoint, TransportType};
use crate::capability::TransportCapabilities;
use crate::target::{ServiceName, TransportAddress};

pub(super) fn name(text: &str) -> ServiceName {
    text.parse().expect("a service name")
}

/// An instance of `service` that serves the tcp planes.
pub(super) fn instance(service: &str, instance_id: u64, weight: u8) -> Instance {
    let endpoint = |address: &str| TransportEndpoint {
        address: TransportAddress::tcp(address),
        capabilities: TransportCapabilities::UNARY,
        metadata: HashMap::new(),
    };
    Instance {
        name: name(service),
        instance_id,
        weight,
        transport: TransportType::Unified {
            request_transports: vec![endpoint("127.0.0.1:9001")],
            response_transports: vec![endpoint("")],
        },
    }
}

pub(super) fn ids(instances: &[Instance]) -> Vec<u64> {
    instances.iter().map(|instance| instance.instance_id).collect()
}
