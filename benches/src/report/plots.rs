//! Plots of the results.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::spans::Spans;
use super::{Measured, Outcome, Results, Row};

const SIZE: (u32, u32) = (960, 540);
const FONT: &str = "sans-serif";

/// Colors that are distinguishable in print and with color blindness (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// Draws all plots that have figures, into `folder`.
pub(crate) fn write(results: &Results, folder: &Path) -> Result<()> {
    let device = &results.machine.device;
    let plots = [
        Plot {
            file: "handover",
            title: format!("Hand-over: from frame to frame on {device}"),
            x: ("slots", Scale::Linear),
            y: ("µs", Scale::Linear),
            series: by(results, "handover", "queue", "slots"),
        },
        Plot {
            file: "bandwidth",
            title: format!("CUDA on shared memory and on its own on {device}"),
            x: ("size", Scale::Bytes),
            y: ("GB/s", Scale::Powers),
            series: by(results, "bandwidth", "work", "bytes"),
        },
        Plot {
            file: "particles",
            title: format!("A frame of the particle demo on {device}"),
            x: ("particles", Scale::Powers),
            y: ("ms", Scale::Powers),
            series: by(results, "particles", "", "particles"),
        },
    ];
    for plot in plots.iter().filter(|plot| plot.series.iter().any(|series| series.points.len() > 1)) {
        let path = folder.join(format!("{}.svg", plot.file));
        plot.draw(&path).with_context(|| format!("cannot draw {}", path.display()))?;
    }
    for spans in &results.spans {
        let path = folder.join(format!("{}.svg", spans.name));
        timeline(spans, &path).with_context(|| format!("cannot draw {}", path.display()))?;
    }
    Ok(())
}

/// One line of a plot.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    /// `true` for a way that the bridge is compared with.
    dashed: bool,
}

/// Returns a line for each value of the parameter `line` and each way, over the parameter `x`.
fn by(results: &Results, kind: &str, line: &str, x: &str) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for row in results.rows.iter().filter(|row| row.kind() == kind) {
        let (Some(measured), Some(place)) = (plotted(row), row.parameters.get(x).and_then(|value| value.as_f64()))
        else {
            continue;
        };
        let line = row.parameters.get(line).and_then(|value| value.as_str()).unwrap_or_default();
        let ours = std::iter::once(("the bridge", measured.bridge.median, false));
        let others = measured.others.iter().map(|other| (other.name.as_str(), other.summary.median, true));
        for (way, value, dashed) in ours.chain(others) {
            let name = if line.is_empty() { way.to_owned() } else { format!("{line}, {way}") };
            match all.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push((place, value)),
                None => all.push(Series { name, points: vec![(place, value)], dashed }),
            }
        }
    }
    all
}

/// Returns the figures of a row that are plotted: for frames, only the durations.
fn plotted(row: &Row) -> Option<&Measured> {
    let is_cost = row.name.ends_with("/cpu") || row.name.ends_with("/allocations");
    match &row.outcome {
        Outcome::Measured(measured) if !is_cost => Some(measured),
        _ => None,
    }
}

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    /// In powers of ten.
    Powers,
    /// In powers of two, with units.
    Bytes,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Powers => value.max(1e-9).log10(),
            Self::Bytes => value.max(1.0).log2(),
        }
    }

    /// Returns the label at a position; empty if the value would not be a round number.
    fn label(self, place: f64) -> String {
        let round = (place - place.round()).abs() < 1e-6;
        match self {
            Self::Linear => format!("{place}"),
            Self::Powers if round => short(10f64.powf(place)),
            Self::Bytes if round => {
                let (unit, shift) = [("GiB", 30.0), ("MiB", 20.0), ("KiB", 10.0), ("B", 0.0)]
                    .into_iter()
                    .find(|(_, shift)| place >= *shift)
                    .unwrap_or(("B", 0.0));
                format!("{} {unit}", (place - shift).exp2())
            }
            Self::Powers | Self::Bytes => String::new(),
        }
    }

    /// Returns the range of `values` with a margin; a linear one can start at 0.
    fn range(self, values: Range<f64>, from_zero: bool) -> Range<f64> {
        let margin = ((values.end - values.start) * 0.06).max(0.1);
        let start = if self == Self::Linear && from_zero { 0.0 } else { values.start - margin };
        start..values.end + margin
    }
}

/// Formats a number with as few digits as needed.
fn short(value: f64) -> String {
    match value {
        value if value >= 999_999.0 => format!("{} M", value.round() / 1e6),
        value if value >= 999.0 => format!("{} k", value.round() / 1e3),
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// A plot of lines.
struct Plot {
    file: &'static str,
    title: String,
    x: (&'static str, Scale),
    y: (&'static str, Scale),
    series: Vec<Series>,
}

impl Plot {
    fn draw(&self, path: &Path) -> Result<()> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let ((x_name, x), (y_name, y)) = (self.x, self.y);
        let placed = |series: &Series| -> Vec<(f64, f64)> {
            series.points.iter().map(|(a, b)| (x.place(*a), y.place(*b))).collect()
        };
        let all: Vec<_> = self.series.iter().flat_map(placed).collect();
        let mut chart = builder(&area, &self.title)
            .build_cartesian_2d(
                x.range(extent(all.iter().map(|point| point.0)), false),
                y.range(extent(all.iter().map(|point| point.1)), true),
            )
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc(y_name)
            .x_label_formatter(&|place| x.label(*place))
            .y_label_formatter(&|place| y.label(*place))
            .label_style((FONT, 15))
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(failed)?;
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            let style = color.stroke_width(2);
            let points = placed(series);
            let dots = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
            chart.draw_series(dots).map_err(failed)?;
            let drawn = if series.dashed {
                chart.draw_series(DashedLineSeries::new(points, 6, 4, style))
            } else {
                chart.draw_series(LineSeries::new(points, style))
            };
            // A single dash represents a dashed line.
            let length = if series.dashed { 6 } else { 18 };
            let dash = move |(x, y)| PathElement::new(vec![(x, y), (x + length, y)], style);
            drawn.map_err(failed)?.label(&series.name).legend(dash);
        }
        // Rates rise to the right, and durations of frames fall with the number of slots: the
        // labels are placed where the lines are not.
        let corner = match x {
            Scale::Linear => SeriesLabelPosition::UpperRight,
            Scale::Powers | Scale::Bytes => SeriesLabelPosition::UpperLeft,
        };
        let mut labels = chart.configure_series_labels();
        let labels = labels.label_font((FONT, 14)).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3));
        labels.position(corner).draw().map_err(failed)?;
        area.present().map_err(failed)
    }
}

/// Draws lanes of spans, with a color for each frame.
fn timeline(spans: &Spans, path: &Path) -> Result<()> {
    let lanes = spans.lanes.len() as f64;
    let area = SVGBackend::new(path, (SIZE.0, 160 + 90 * spans.lanes.len() as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let all = || spans.lanes.iter().flat_map(|lane| &lane.spans);
    let ends = extent(all().flat_map(|span| [span.start_us, span.end_us]));
    let (unit, scale) = if ends.end > 5000.0 { ("ms", 1e-3) } else { ("µs", 1.0) };
    let mut chart = builder(&area, &spans.what)
        .y_label_area_size(0)
        .build_cartesian_2d(Scale::Linear.range(ends.clone(), false), 0.0..lanes)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(unit)
        .x_label_formatter(&|place| format!("{}", (place * scale * 1e3).round() / 1e3))
        .label_style((FONT, 15))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (lane, bottom) in spans.lanes.iter().rev().zip(0u32..) {
        let bottom = f64::from(bottom);
        let name = match lane.error_us {
            error if error > 0.0 => format!("{} (within {} µs)", lane.name, short((error * 10.0).ceil() / 10.0)),
            _ => lane.name.clone(),
        };
        let place = (ends.start, bottom + 0.92);
        chart.draw_series([Text::new(name, place, (FONT, 15).into_font().color(&BLACK))]).map_err(failed)?;
        for span in &lane.spans {
            let color = COLORS[(span.frame % COLORS.len() as u64) as usize];
            let corners = [(span.start_us, bottom + 0.1), (span.end_us, bottom + 0.65)];
            let number = Text::new(
                format!("{}", span.frame),
                (span.start_us, bottom + 0.6),
                (FONT, 13).into_font().color(&BLACK),
            );
            chart.draw_series([Rectangle::new(corners, color.mix(0.7).filled())]).map_err(failed)?;
            chart.draw_series([Rectangle::new(corners, color.stroke_width(1))]).map_err(failed)?;
            chart.draw_series([number]).map_err(failed)?;
        }
    }
    area.present().map_err(failed)
}

fn builder<'a, 'b>(area: &'a DrawingArea<SVGBackend<'b>, Shift>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder.caption(title, (FONT, 20)).margin(16).x_label_area_size(44).y_label_area_size(64);
    builder
}

/// Returns the range from the minimum to the maximum; 0 to 1 without values.
fn extent(values: impl Iterator<Item = f64>) -> Range<f64> {
    let ends = values.fold(None, |ends: Option<(f64, f64)>, value| {
        Some(ends.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
    });
    ends.map_or(0.0..1.0, |(least, most)| least..most)
}

/// Converts an error of the library, which contains the back end's error and cannot be stored.
fn failed<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("{error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::spans::{Lane, Span};
    use crate::report::table::tests::results;

    #[test]
    fn every_picture_has_its_figures() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = results();
        let mut again = results.rows[0].clone();
        again.parameters.insert("slots".into(), 4.into());
        results.rows.push(again);
        let span = |frame: u64| Span { frame, start_us: frame as f64 * 10.0, end_us: frame as f64 * 10.0 + 6.0 };
        let lane = Lane { name: "Vulkan".into(), error_us: 1.25, spans: (20..23).map(span).collect() };
        results.spans.push(Spans { name: "timeline".into(), what: "frames".into(), lanes: vec![lane] });
        write(&results, folder.path()).unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let drawn = text("handover.svg");
        assert!(drawn.contains("raw calls") && drawn.contains("slots") && drawn.ends_with("</svg>\n"), "{drawn}");
        assert!(!folder.path().join("particles.svg").exists(), "no figures, no picture");
        let drawn = text("timeline.svg");
        assert!(drawn.contains("Vulkan (within 1.3 µs)") && drawn.contains("\n22\n"), "{drawn}");
    }

    #[test]
    fn axes_show_round_numbers() {
        assert_eq!(Scale::Bytes.label(12.0), "4 KiB");
        assert_eq!(Scale::Bytes.label(32.0), "4 GiB");
        assert_eq!(Scale::Bytes.label(12.5), "");
        assert_eq!(Scale::Powers.label(5.0), "100 k");
        assert_eq!(Scale::Powers.label(-1.0), "0.1");
        assert_eq!(Scale::Powers.place(100.0), 2.0);
    }
}
