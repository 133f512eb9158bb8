//! Which camera was opened, so that the same one is found again after it was unplugged.

use super::find;
use super::nodes::Node;
use crate::config::UsbCamera;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The camera that was opened. The worker keeps it, and leaves it in its status for the worker that
/// replaces it. A clone shares what the streaming source finds out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "(Node, Vec<String>)", into = "(Node, Vec<String>)")]
pub struct Identity {
    node: Node,
    /// The bus paths of identical devices, as last seen while this one was present too.
    identical_devices: Arc<Mutex<Vec<String>>>,
}

impl Identity {
    pub(crate) fn new(node: &Node, nodes: &[Node]) -> Self {
        let identity = Self {
            node: node.clone(),
            identical_devices: Arc::default(),
        };
        identity.update_identical_devices(nodes);
        identity
    }

    /// To be called now and then while the camera is certainly present, so that any identical
    /// device is another one.
    pub(crate) fn update_identical_devices(&self, nodes: &[Node]) {
        let others = nodes
            .iter()
            .filter(|n| self.is_identical(n) && n.bus_path != self.node.bus_path);
        *self.identical_devices() = others.map(|n| n.bus_path.clone()).collect();
    }

    /// Whether the options can mean this camera. One that was selected by a number always can:
    /// numbers change.
    pub(crate) fn fits(&self, camera: &UsbCamera) -> bool {
        match camera {
            UsbCamera::Named(name) => find::is_named(&self.node, name),
            UsbCamera::Index(_) | UsbCamera::Path(_) => true,
        }
    }

    fn identical_devices(&self) -> MutexGuard<'_, Vec<String>> {
        self.identical_devices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    fn is_identical(&self, n: &Node) -> bool {
        let mine = &self.node;
        let key = |n: &Node| {
            (
                n.name.clone(),
                n.vid_pid.clone(),
                n.serial.clone(),
                n.index,
                n.interface.clone(),
            )
        };
        key(n) == key(mine)
    }

    /// The same camera among `nodes`: an identical device (serial number, product, name) at the
    /// same bus path; else one at another USB port, where it is the only one and was not there
    /// before. Another camera is never taken, and of two identical ones neither is taken for the
    /// other.
    pub(crate) fn find<'n>(&self, nodes: &'n [Node]) -> Option<&'n Node> {
        let alike = || nodes.iter().filter(|n| self.is_identical(n));
        let mut here = alike()
            .filter(|n| n.bus_path == self.node.bus_path)
            .peekable();
        if here.peek().is_some() {
            // Off USB, several nodes can have one bus path; then the number decides.
            let here: Vec<_> = here.collect();
            let same_number = here.iter().find(|n| n.number == self.node.number);
            return match (here.as_slice(), same_number) {
                ([only], _) => Some(only),
                (_, Some(same)) => Some(same),
                _ => None,
            };
        }
        let mut moved = alike()
            .filter(|n| n.vid_pid.is_some() && !self.identical_devices().contains(&n.bus_path));
        match (moved.next(), moved.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// For a message that it is missing.
    pub(crate) fn description(&self) -> String {
        match &self.node.serial {
            Some(serial) => format!(
                "{} with serial {serial}, last at {}",
                self.node.name, self.node.bus_path
            ),
            None => format!("{}, last at {}", self.node.name, self.node.bus_path),
        }
    }
}

/// The serialized form.
impl From<Identity> for (Node, Vec<String>) {
    fn from(identity: Identity) -> Self {
        let identical_devices = identity.identical_devices().clone();
        (identity.node, identical_devices)
    }
}

impl From<(Node, Vec<String>)> for Identity {
    fn from((node, identical_devices): (Node, Vec<String>)) -> Self {
        Self {
            node,
            identical_devices: Arc::new(Mutex::new(identical_devices)),
        }
    }
}
