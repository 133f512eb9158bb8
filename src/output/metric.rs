//! Rows of `/metrics`: one metric with the values of all its labels, for the library's encoders.

use crate::hub::metrics::{BOUNDS_S, HistogramSnapshot};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;

/// Names and values; empty for a metric with a single value.
pub(crate) type Labels<'a> = Vec<(&'a str, String)>;

/// A gauge with a single value.
///
/// # Errors
/// Those of the encoder, whose buffer is memory: none.
pub(crate) fn plain(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> fmt::Result {
    gauges(out, name, help, [(Labels::new(), value)])
}

/// A gauge.
///
/// # Errors
/// Those of the encoder, whose buffer is memory: none.
pub(crate) fn gauges<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    family(
        out.encode_descriptor(name, help, None, MetricType::Gauge)?,
        values,
        |value, metric| ConstGauge::new(value).encode(metric),
    )
}

/// The encoder adds `_total` to the name.
///
/// # Errors
/// Those of the encoder, whose buffer is memory: none.
pub(crate) fn counters<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    family(
        out.encode_descriptor(name, help, None, MetricType::Counter)?,
        values,
        |value, metric| ConstCounter::new(value).encode(metric),
    )
}

fn family<'a>(
    mut metric: MetricEncoder<'_>,
    values: impl IntoIterator<Item = (Labels<'a>, f64)>,
    encode: fn(f64, MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in values {
        if labels.is_empty() {
            return encode(value, metric);
        }
        encode(value, metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Of durations in seconds; the encoder adds `_seconds` to the name.
///
/// # Errors
/// Those of the encoder, whose buffer is memory: none.
pub(crate) fn histograms<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, &'a HistogramSnapshot)>,
) -> fmt::Result {
    let mut metric =
        out.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (labels, histogram) in values {
        let buckets: Vec<(f64, u64)> = BOUNDS_S
            .into_iter()
            .chain([f64::INFINITY])
            .zip(histogram.counts)
            .collect();
        let total = histogram.counts.iter().sum();
        metric
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(histogram.sum_s, total, &buckets, None)?;
    }
    Ok(())
}
