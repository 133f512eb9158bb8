//! The identities of the supervisor's children. Everything that the supervisor keeps per child is
//! keyed by them.

use crate::media::{CameraId, MediaKind, StreamId};

/// The longest process name that the kernel keeps (prctl(2), PR_SET_NAME), bytes.
const MAX_PROCESS_NAME: usize = 15;

/// A child of the supervisor. In order of start: the server first, then the workers by camera.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildId {
    Server,
    /// The process that reads one device and writes the stream's rings.
    Worker(StreamId),
}

impl ChildId {
    /// The name in log lines: `stampcast-serve`; `stampcast-video` and `stampcast-audio` for the
    /// camera `main`; `stampcast-v-left` and `stampcast-a-left` for others.
    pub fn name(&self) -> String {
        match self {
            Self::Server => "stampcast-serve".into(),
            Self::Worker(stream) if stream.camera == CameraId::main() => {
                format!("stampcast-{}", stream.kind.name())
            }
            Self::Worker(StreamId { camera, kind }) => {
                let kind = match kind {
                    MediaKind::Video => 'v',
                    MediaKind::Audio => 'a',
                };
                format!("stampcast-{kind}-{camera}")
            }
        }
    }

    /// The name in `ps` and `top`: the first 15 bytes of [`name`](Self::name), which is ASCII.
    pub fn process_name(&self) -> String {
        let mut name = self.name();
        name.truncate(MAX_PROCESS_NAME);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(camera: &str, kind: MediaKind) -> ChildId {
        ChildId::Worker(StreamId {
            camera: CameraId::new(camera).expect("a camera name"),
            kind,
        })
    }

    #[test]
    fn child_id_names_fit_the_kernel_and_keep_the_whole_camera_in_the_log() {
        for (id, name, process_name) in [
            (ChildId::Server, "stampcast-serve", "stampcast-serve"),
            (
                worker("main", MediaKind::Video),
                "stampcast-video",
                "stampcast-video",
            ),
            (
                worker("main", MediaKind::Audio),
                "stampcast-audio",
                "stampcast-audio",
            ),
            (
                worker("left", MediaKind::Audio),
                "stampcast-a-left",
                "stampcast-a-lef",
            ),
            (
                worker("front_door", MediaKind::Video),
                "stampcast-v-front_door",
                "stampcast-v-fro",
            ),
        ] {
            assert_eq!((&*id.name(), &*id.process_name()), (name, process_name));
        }
    }

    #[test]
    fn child_id_order_is_server_then_cameras() {
        let ordered = [
            ChildId::Server,
            worker("left", MediaKind::Video),
            worker("left", MediaKind::Audio),
            worker("right", MediaKind::Video),
        ];
        assert!(ordered.is_sorted());
    }
}
