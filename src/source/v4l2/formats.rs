//! Which of a camera's formats, sizes and frame intervals to ask for. Pure: knows no device, only what one offers.

use crate::media::frame::PixelFormat;

/// A V4L2 pixel format code: four characters, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FourCc(pub u32);

impl FourCc {
    pub const fn new(name: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*name))
    }

    /// The formats that stampcast reads, under every code that they go by.
    pub fn pixel_format(self) -> Option<PixelFormat> {
        match &self.0.to_le_bytes() {
            b"YUYV" => Some(PixelFormat::Yuyv),
            b"NV12" => Some(PixelFormat::Nv12),
            b"YU12" => Some(PixelFormat::I420),
            b"GREY" => Some(PixelFormat::Grey),
            // A driver calls the same bytes one or the other.
            b"MJPG" | b"JPEG" => Some(PixelFormat::Mjpeg),
            _ => None,
        }
    }
}

impl std::fmt::Display for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bit 31 marks big-endian variants and is no character.
        for byte in (self.0 & 0x7fff_ffff).to_le_bytes() {
            let c = if byte.is_ascii_graphic() || byte == b' ' {
                byte as char
            } else {
                '?'
            };
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// Seconds per frame, as V4L2 gives it: a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub numerator: u32,
    pub denominator: u32,
}

impl Interval {
    /// `None` for a fraction that is no time (a zero in it).
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (numerator > 0 && denominator > 0).then_some(Self {
            numerator,
            denominator,
        })
    }

    /// The nearest fraction with a numerator of 1 or 1000.
    pub fn from_fps(fps: f64) -> Self {
        let fps = fps.clamp(0.001, 1000.0);
        if fps.fract() == 0.0 {
            Self {
                numerator: 1,
                denominator: fps as u32,
            }
        } else {
            Self {
                numerator: 1000,
                denominator: (fps * 1000.0).round() as u32,
            }
        }
    }

    pub fn fps(self) -> f64 {
        f64::from(self.denominator) / f64::from(self.numerator)
    }
}

/// Frame sizes that a format comes in, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    Discrete {
        width: u32,
        height: u32,
    },
    /// From min to max in steps (1 where the driver says "continuous").
    Range {
        width: Span,
        height: Span,
    },
}

/// `min`, `min + step`, … up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub min: u32,
    pub max: u32,
    pub step: u32,
}

impl Span {
    /// The largest member that is not above `wanted`, or `min`.
    fn fit(self, wanted: u32) -> u32 {
        let wanted = wanted.clamp(self.min, self.max.max(self.min));
        wanted - (wanted - self.min) % self.step.max(1)
    }
}

impl Sizes {
    /// The size of these that is nearest to the wanted one.
    pub fn fit(self, wanted: (u32, u32)) -> (u32, u32) {
        match self {
            Self::Discrete { width, height } => (width, height),
            Self::Range { width, height } => (width.fit(wanted.0), height.fit(wanted.1)),
        }
    }
}

/// Frame intervals that a size comes at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intervals {
    Discrete(Interval),
    Range {
        shortest: Interval,
        longest: Interval,
    },
}

/// One format at one size (or range of sizes).
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    pub code: FourCc,
    pub sizes: Sizes,
    /// Empty where the driver does not say. For a range of sizes, those at the size nearest to the wanted one.
    pub intervals: Vec<Intervals>,
}

/// What the settings ask of the camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// The camera's size, pixels.
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    /// The camera's own JPEG, at exactly this size, can go to the viewer as it is.
    pub untouched_jpeg: bool,
}

/// What to ask the driver for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub code: FourCc,
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    pub interval: Interval,
}

/// Picks the cheapest offer that fulfils the wish, or else comes nearest. In this order:
///
/// 1. size: the asked one; else the smallest that covers it (up to four times its area); else the largest below;
/// 2. colour before grey;
/// 3. the asked fps is reached (a camera that is faster is thinned by the worker);
/// 4. cost: JPEG that stays untouched, I420, NV12, YUYV, JPEG that must be decoded;
/// 5. the fewest frames above the asked fps.
///
/// So YUYV at 1280x720, which USB 2 carries at 10 fps, loses to MJPG when 30 fps are asked, and wins when 5 are.
/// `None` when no offer is in a format that stampcast reads.
pub fn choose(offers: &[Offer], wish: &Wish) -> Option<Choice> {
    let mut best: Option<(Rank, Choice)> = None;
    for offer in offers {
        let Some(format) = offer.code.pixel_format() else {
            continue;
        };
        let (width, height) = offer.sizes.fit((wish.width, wish.height));
        if width == 0 || height == 0 {
            continue;
        }
        let interval = nearest_interval(&offer.intervals, wish.fps);
        let choice = Choice {
            code: offer.code,
            format,
            width,
            height,
            interval,
        };
        let rank = Rank::of(&choice, wish);
        if best.as_ref().is_none_or(|(b, _)| rank.better_than(b)) {
            best = Some((rank, choice));
        }
    }
    best.map(|(_, choice)| choice)
}

/// Lower is better, field by field.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Rank {
    size: (u8, u64),
    grey: bool,
    fps_short: f64,
    cost: u8,
    fps_above: f64,
}

impl Rank {
    fn of(choice: &Choice, wish: &Wish) -> Self {
        let fps = choice.interval.fps();
        let exact = (choice.width, choice.height) == (wish.width, wish.height);
        Self {
            size: size_rank((choice.width, choice.height), (wish.width, wish.height)),
            grey: choice.format == PixelFormat::Grey,
            fps_short: if reaches(fps, wish.fps) {
                0.0
            } else {
                wish.fps - fps
            },
            cost: match choice.format {
                PixelFormat::Mjpeg if wish.untouched_jpeg && exact => 0,
                PixelFormat::Grey | PixelFormat::I420 => 1,
                PixelFormat::Nv12 => 2,
                PixelFormat::Yuyv => 3,
                PixelFormat::Mjpeg => 4,
            },
            fps_above: (fps - wish.fps).max(0.0),
        }
    }

    fn better_than(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(std::cmp::Ordering::Less)
    }
}

fn size_rank(size: (u32, u32), wanted: (u32, u32)) -> (u8, u64) {
    let area = |(w, h): (u32, u32)| u64::from(w) * u64::from(h);
    if size == wanted {
        (0, 0)
    } else if size.0 >= wanted.0 && size.1 >= wanted.1 {
        // A picture far larger than asked costs more than one that is a little too small.
        (
            if area(size) <= 4 * area(wanted) { 1 } else { 3 },
            area(size),
        )
    } else {
        (2, u64::MAX - area(size))
    }
}

/// 29.97 is what a person means by 30.
fn reaches(fps: f64, wanted: f64) -> bool {
    fps >= wanted * 0.99
}

/// The slowest interval that reaches the wanted fps, else the fastest.
fn nearest_interval(offered: &[Intervals], wanted_fps: f64) -> Interval {
    let asked = Interval::from_fps(wanted_fps);
    offered
        .iter()
        .map(|i| match *i {
            Intervals::Discrete(interval) => interval,
            Intervals::Range { shortest, longest } => {
                if wanted_fps > shortest.fps() {
                    shortest
                } else if wanted_fps < longest.fps() {
                    longest
                } else {
                    asked
                }
            }
        })
        .min_by(|a, b| {
            let key = |i: &Interval| {
                if reaches(i.fps(), wanted_fps) {
                    (0, i.fps())
                } else {
                    (1, -i.fps())
                }
            };
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        })
        .unwrap_or(asked)
}

/// Bytes that a whole picture needs; 0 for MJPEG, whose length is its own. `stride` is the first plane's.
pub fn picture_bytes(format: PixelFormat, stride: usize, height: u32) -> usize {
    let luma = stride * height as usize;
    let chroma_lines = (height as usize).div_ceil(2);
    match format {
        PixelFormat::Yuyv | PixelFormat::Grey => luma,
        PixelFormat::Nv12 => luma + stride * chroma_lines,
        PixelFormat::I420 => luma + 2 * (stride / 2) * chroma_lines,
        PixelFormat::Mjpeg => 0,
    }
}

/// Bytes that a line of the first plane has at least; 0 for MJPEG.
pub fn line_bytes(format: PixelFormat, width: u32) -> usize {
    match format {
        // Two pixels share their chroma, so an odd line has one pair more.
        PixelFormat::Yuyv => (width as usize).div_ceil(2) * 4,
        PixelFormat::Nv12 | PixelFormat::I420 => (width as usize).next_multiple_of(2),
        PixelFormat::Grey => width as usize,
        PixelFormat::Mjpeg => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(code: &[u8; 4], width: u32, height: u32, fps: &[u32]) -> Offer {
        let intervals = fps
            .iter()
            .map(|f| {
                Intervals::Discrete(Interval {
                    numerator: 1,
                    denominator: *f,
                })
            })
            .collect();
        Offer {
            code: FourCc::new(code),
            sizes: Sizes::Discrete { width, height },
            intervals,
        }
    }

    /// A USB 2 webcam of the common kind.
    fn webcam() -> Vec<Offer> {
        vec![
            at(b"YUYV", 640, 480, &[30, 15]),
            at(b"YUYV", 1280, 720, &[10, 5]),
            at(b"YUYV", 1920, 1080, &[5]),
            at(b"MJPG", 640, 480, &[30, 15]),
            at(b"MJPG", 1280, 720, &[30, 15]),
            at(b"MJPG", 1920, 1080, &[30, 15]),
            at(b"H264", 1920, 1080, &[30]),
        ]
    }

    fn wish(width: u32, height: u32, fps: f64, untouched_jpeg: bool) -> Wish {
        Wish {
            width,
            height,
            fps,
            untouched_jpeg,
        }
    }

    fn told(offers: &[Offer], wish: Wish) -> String {
        match choose(offers, &wish) {
            Some(c) => format!(
                "{} {}x{} {:.2}",
                c.code,
                c.width,
                c.height,
                c.interval.fps()
            ),
            None => "none".into(),
        }
    }

    #[test]
    fn the_cheapest_offer_that_fulfils_the_wish_is_chosen() {
        let mut offers = webcam();
        offers.push(at(b"GREY", 640, 480, &[60]));
        offers.push(at(b"NV12", 320, 240, &[30]));
        offers.push(at(b"YU12", 320, 240, &[30]));
        offers.push(at(b"YUYV", 320, 240, &[30]));
        for (wish, expected) in [
            // JPEG that nothing touches is cheapest; otherwise raw, as long as it is fast enough.
            (wish(640, 480, 15.0, true), "MJPG 640x480 15.00"),
            (wish(640, 480, 15.0, false), "YUYV 640x480 15.00"),
            (wish(640, 480, 20.0, false), "YUYV 640x480 30.00"),
            (wish(1280, 720, 30.0, false), "MJPG 1280x720 30.00"),
            (wish(1280, 720, 5.0, false), "YUYV 1280x720 5.00"),
            (wish(1280, 720, 8.0, false), "YUYV 1280x720 10.00"),
            (wish(1920, 1080, 15.0, false), "MJPG 1920x1080 15.00"),
            // Grey is faster but has no colour; nothing reaches 50, so what comes nearest.
            (wish(640, 480, 50.0, false), "YUYV 640x480 30.00"),
            (wish(640, 480, 29.97, false), "YUYV 640x480 30.00"),
            (wish(320, 240, 30.0, false), "YU12 320x240 30.00"),
            // The JPEG would have to be scaled, so it is not untouched: the next larger size, raw.
            (wish(600, 400, 15.0, true), "YUYV 640x480 15.00"),
            // Larger than everything: the largest.
            (wish(4096, 2160, 15.0, true), "MJPG 1920x1080 15.00"),
            (wish(16, 16, 15.0, false), "YU12 320x240 30.00"),
        ] {
            assert_eq!(told(&offers, wish), expected, "{wish:?}");
        }
    }

    #[test]
    fn grey_is_taken_where_nothing_else_is_offered() {
        assert_eq!(
            told(&[at(b"GREY", 640, 480, &[60])], wish(640, 480, 15.0, true)),
            "GREY 640x480 60.00"
        );
        assert_eq!(
            told(&[at(b"H264", 640, 480, &[60])], wish(640, 480, 15.0, true)),
            "none"
        );
        assert_eq!(told(&[], wish(640, 480, 15.0, true)), "none");
    }

    #[test]
    fn a_range_of_sizes_and_intervals_is_fitted() {
        let span = |min, max, step| Span { min, max, step };
        let sizes = Sizes::Range {
            width: span(48, 1920, 16),
            height: span(32, 1080, 8),
        };
        let range = Intervals::Range {
            shortest: Interval {
                numerator: 1,
                denominator: 60,
            },
            longest: Interval {
                numerator: 1,
                denominator: 2,
            },
        };
        let offers = [Offer {
            code: FourCc::new(b"NV12"),
            sizes,
            intervals: vec![range],
        }];
        for (wish, expected) in [
            (wish(640, 480, 15.0, false), "NV12 640x480 15.00"),
            (wish(650, 487, 12.5, false), "NV12 640x480 12.50"),
            (wish(8, 8, 90.0, false), "NV12 48x32 60.00"),
            (wish(9999, 9999, 1.0, false), "NV12 1920x1080 2.00"),
        ] {
            assert_eq!(told(&offers, wish), expected, "{wish:?}");
        }
    }

    #[test]
    fn a_driver_that_lists_no_intervals_is_asked_for_the_wanted_one() {
        let offers = [at(b"YUYV", 640, 480, &[])];
        assert_eq!(
            told(&offers, wish(640, 480, 12.5, false)),
            "YUYV 640x480 12.50"
        );
    }

    #[test]
    fn senseless_ranges_do_not_panic() {
        let span = Span {
            min: 100,
            max: 10,
            step: 0,
        };
        let sizes = Sizes::Range {
            width: span,
            height: Span {
                min: 0,
                max: 0,
                step: 0,
            },
        };
        let offers = [Offer {
            code: FourCc::new(b"NV12"),
            sizes,
            intervals: vec![],
        }];
        assert_eq!(told(&offers, wish(640, 480, 15.0, false)), "none");
        assert_eq!(Interval::new(0, 30), None);
        assert!(Interval::from_fps(0.0).fps() > 0.0);
        assert_eq!(FourCc(0xffff_ffff).to_string(), "????");
    }

    #[test]
    fn pictures_have_the_size_that_v4l2_lays_down() {
        for (format, stride, height, bytes) in [
            (PixelFormat::Yuyv, 1280, 480, 614_400),
            (PixelFormat::Nv12, 640, 480, 460_800),
            (PixelFormat::I420, 640, 480, 460_800),
            (PixelFormat::Grey, 640, 480, 307_200),
            (PixelFormat::Mjpeg, 0, 480, 0),
            (PixelFormat::Nv12, 640, 5, 640 * 8),
        ] {
            assert_eq!(picture_bytes(format, stride, height), bytes, "{format:?}");
        }
        assert_eq!(line_bytes(PixelFormat::Yuyv, 641), 1284);
    }
}
