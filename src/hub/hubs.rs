//! The hubs of all cameras.

use super::Hub;
use crate::media::clock::ClockStep;
use std::sync::Arc;

/// One hub per camera, in the order of the configuration; the first is the default, which is served
/// without a name in the address. Cheap to clone.
#[derive(Clone)]
pub struct Hubs(Arc<[Arc<Hub>]>);

impl Hubs {
    /// `first` is the default camera. Names must be unique.
    pub fn new(first: Arc<Hub>, others: impl IntoIterator<Item = Arc<Hub>>) -> Self {
        let hubs: Vec<_> = std::iter::once(first).chain(others).collect();
        debug_assert!(
            hubs.iter().enumerate().all(|(at, hub)| hubs[..at]
                .iter()
                .all(|other| other.camera() != hub.camera())),
            "two cameras have the same name"
        );
        Self(hubs.into())
    }

    pub fn default_hub(&self) -> &Arc<Hub> {
        &self.0[0]
    }

    /// The hub of the camera of this name.
    pub fn get(&self, camera: &str) -> Option<&Arc<Hub>> {
        self.iter().find(|hub| hub.camera().as_str() == camera)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Hub>> {
        self.0.iter()
    }

    /// The cameras' names, the default one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|hub| hub.camera().as_str())
    }

    /// Reports a step of the UNIX clock to every hub.
    pub fn clock_stepped(&self, step: ClockStep) {
        self.iter().for_each(|hub| hub.clock_stepped(step));
    }

    /// Tells every subscriber, present and future, to end.
    pub fn close(&self) {
        self.iter().for_each(|hub| hub.close());
    }
}
