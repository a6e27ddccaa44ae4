//! Times of the variants of one comparison, and their figures as JSON.

use std::{future::Future, time::Instant};

use serde_json::json;

pub struct Comparison {
    name: String,
    /// The first variant is what the others are compared with.
    variants: Vec<(String, Vec<f64>)>,
    answer: Option<String>,
}

impl Comparison {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), variants: Vec::new(), answer: None }
    }

    /// Runs a query once. Its answer must be that of all other runs.
    pub async fn time<F: Future<Output = String>>(&mut self, variant: &str, query: impl FnOnce() -> F) {
        let start = Instant::now();
        let answer = query().await;
        let millis = start.elapsed().as_secs_f64() * 1e3;
        let expected = self.answer.get_or_insert_with(|| answer.clone());
        assert_eq!(&answer, expected, "{} answers differently in {variant}", self.name);
        match self.variants.iter_mut().find(|(name, _)| name == variant) {
            Some((_, times)) => times.push(millis),
            None => self.variants.push((variant.into(), vec![millis])),
        }
    }

    /// The first round only warms up.
    pub fn print(self) {
        let mut base = None;
        for (variant, mut times) in self.variants {
            times.remove(0);
            let median = quantile(&mut times, 0.5);
            let base = *base.get_or_insert(median);
            let spread = [quantile(&mut times, 0.25), quantile(&mut times, 0.75)].map(rounded);
            println!(
                "{}",
                json!({
                    "figure": self.name, "variant": variant, "rounds": times.len(), "median_ms": rounded(median),
                    "quartiles_ms": spread, "ratio": rounded(median / base),
                })
            );
        }
    }
}

pub fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (q * (times.len().saturating_sub(1)) as f64).round() as usize;
    times.get(at).copied().unwrap_or(f64::NAN)
}

pub fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
