//! The results, as a table and as JSON.

use std::fmt::Write;

use bridge_wgpu::{Backend, wgpu};

/// Results of one way, in microseconds.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The number of copies that keep the queue busy while a frame is submitted; increased as
    /// needed.
    pub(crate) copies: u32,
    /// The number of frames that were submitted only after the copies were done.
    pub(crate) uncovered: u32,
    frame: Vec<f64>,
    submitting: Vec<f64>,
    gpu: Vec<f64>,
}

impl Row {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, copies: 1, uncovered: 0, frame: Vec::new(), submitting: Vec::new(), gpu: Vec::new() }
    }

    pub(crate) fn add(&mut self, frame: f64, submitting: f64, gpu: Vec<f64>) {
        self.frame.push(frame);
        self.submitting.push(submitting);
        self.gpu.extend(gpu);
    }

    fn medians(&self) -> [f64; 3] {
        [&self.frame, &self.submitting, &self.gpu].map(|samples| quantile(samples, 0.5))
    }
}

/// Returns the sample closest to a quantile; NaN without samples.
fn quantile(samples: &[f64], at: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
}

/// All results.
pub(crate) struct Report {
    device: String,
    driver: String,
    software: bool,
    backend: Backend,
    sizes: Vec<(usize, Vec<Row>)>,
}

impl Report {
    pub(crate) fn new(adapter: &wgpu::AdapterInfo, backend: Backend) -> Self {
        let driver = format!("{} {}", adapter.driver, adapter.driver_info);
        let software = adapter.device_type == wgpu::DeviceType::Cpu;
        Self { device: adapter.name.clone(), driver, software, backend, sizes: Vec::new() }
    }

    pub(crate) fn add(&mut self, mib: usize, rows: Vec<Row>) {
        self.sizes.push((mib, rows));
    }

    pub(crate) fn print(&self) {
        println!("{} ({}), compute on {}", self.device, self.driver, self.backend);
        if self.software {
            println!("software Vulkan: the figures mean nothing");
        }
        for (mib, rows) in &self.sizes {
            println!("\n| {mib} MiB, medians in µs | frame | submitting | GPU (10 % to 90 %) |\n|---|---|---|---|");
            for row in rows {
                let ([frame, submitting, gpu], name) = (row.medians(), row.name);
                let (low, high) = (quantile(&row.gpu, 0.1), quantile(&row.gpu, 0.9));
                println!("| {name} | {frame:.1} | {submitting:.1} | {gpu:.2} ({low:.2} to {high:.2}) |");
            }
            for (what, [frame, submitting, gpu]) in derived(rows) {
                println!("| *{what}* | {frame:.3} | {submitting:.3} | {gpu:.3} |");
            }
            for row in rows.iter().filter(|row| row.uncovered > 0 && !self.software) {
                println!("\n{}: {} frames came too late to hide the CPU's time", row.name, row.uncovered);
            }
        }
        println!("\n{}", self.json());
    }

    pub(crate) fn json(&self) -> String {
        let Self { device, driver, software, backend, .. } = self;
        let sizes: Vec<_> = self.sizes.iter().map(|(mib, rows)| size(*mib, rows)).collect();
        format!(
            "{{\"device\":{device:?},\"driver\":{driver:?},\"software\":{software},\"backend\":\"{backend}\",\
             \"sizes\":[{}]}}",
            sizes.join(",")
        )
    }
}

/// Returns comparisons of two ways: ratios, and a difference in microseconds.
fn derived(rows: &[Row]) -> Vec<(&'static str, [f64; 3])> {
    let of = |name| rows.iter().find(|row| row.name == name).map_or([f64::NAN; 3], Row::medians);
    let pair = |a: [f64; 3], b: [f64; 3], f: fn(f64, f64) -> f64| [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2])];
    let (ash, shared, wgpu) = (of("ash"), of("ash, shared"), of("wgpu"));
    let (slots, stays) = (of("wgpu, SlotBuffer"), of("wgpu, SharedBuffer"));
    let relayed = of("ash, shared, wgpu's semaphores");
    let own = pair(wgpu, ash, |a, b| a - b);
    let without_own = |way| pair(pair(way, own, |a, b| a - b), shared, |a, b| a / b);
    vec![
        ("wgpu, SlotBuffer / ash, shared", pair(slots, shared, |a, b| a / b)),
        ("wgpu, SharedBuffer / ash, shared", pair(stays, shared, |a, b| a / b)),
        ("wgpu's own: wgpu - ash", own),
        ("wgpu's semaphores: with them - ash, shared", pair(relayed, shared, |a, b| a - b)),
        ("wgpu, SlotBuffer / ash, shared, wgpu's semaphores", pair(slots, relayed, |a, b| a / b)),
        ("wgpu, SharedBuffer / ash, shared, wgpu's semaphores", pair(stays, relayed, |a, b| a / b)),
        ("SlotBuffer without wgpu's own / ash, shared", without_own(slots)),
        ("SharedBuffer without wgpu's own / ash, shared", without_own(stays)),
    ]
}

fn size(mib: usize, rows: &[Row]) -> String {
    let mut ways = String::new();
    for row in rows {
        let [frame, submitting, gpu] = row.medians().map(number);
        let (low, high) = (number(quantile(&row.gpu, 0.1)), number(quantile(&row.gpu, 0.9)));
        let comma = if ways.is_empty() { "" } else { "," };
        let _ = write!(
            ways,
            "{comma}{{\"way\":{:?},\"frame_us\":{frame},\"submitting_us\":{submitting},\"gpu_us\":{gpu},\
             \"gpu_p10_us\":{low},\"gpu_p90_us\":{high},\"gpu_samples\":{},\"uncovered\":{}}}",
            row.name,
            row.gpu.len(),
            row.uncovered
        );
    }
    let derived =
        derived(rows).into_iter().map(|(what, values)| format!("{what:?}:[{}]", values.map(number).join(",")));
    format!("{{\"mib\":{mib},\"ways\":[{ways}],\"derived\":{{{}}}}}", derived.collect::<Vec<_>>().join(","))
}

/// JSON has no NaN.
fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { "null".to_owned() }
}
