//! The hubs of all cameras, in the order of the configuration.

use crate::hub::Hub;
use crate::media::CameraId;
use std::sync::Arc;

/// At least one camera; the first is the one of addresses without a name.
#[derive(Clone)]
pub struct Hubs(Arc<[(CameraId, Arc<Hub>)]>);

impl Hubs {
    /// # Panics
    /// `hubs` is empty.
    pub fn new(hubs: Vec<(CameraId, Arc<Hub>)>) -> Self {
        assert!(!hubs.is_empty(), "the configuration has a camera");
        Self(hubs.into())
    }

    pub fn default_hub(&self) -> &Arc<Hub> {
        &self.0[0].1
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Hub>> {
        let found = self.0.iter().find(|(id, _)| id.as_str() == name);
        found.map(|(_, hub)| hub)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&CameraId, &Arc<Hub>)> {
        self.0.iter().map(|(id, hub)| (id, hub))
    }
}
