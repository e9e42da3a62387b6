//! Flags that several commands have.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::Target;
use crate::installation::Values;

/// Which cluster, and where in it the mesh is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClusterFlags {
    /// The kubeconfig file; without it, what KUBECONFIG names, or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig; without it, the current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The namespace of the mesh itself.
    #[arg(long, value_name = "NAME", default_value = "outrigger-system")]
    pub(crate) mesh_namespace: String,
    /// How long to wait.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

impl ClusterFlags {
    pub(crate) fn target(&self) -> Target {
        let Self { kubeconfig, context, mesh_namespace, timeout } = self.clone();
        Target { kubeconfig, context, mesh_namespace, timeout }
    }
}

/// Flags that say what is installed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ChartFlags {
    /// Set a value of the chart: `a.b=c`, several with commas (repeatable).
    #[arg(long, value_name = "VALUE=X")]
    pub(crate) set: Vec<String>,
    /// Read values from a YAML file (repeatable; later ones win, and --set wins over all).
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
}

impl ChartFlags {
    pub(crate) fn values(&self) -> Values {
        Values { set: self.set.clone(), files: self.values.clone() }
    }
}

/// Reads a number and a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write a number and s, m or h, such as 90s or 5m".to_owned()),
    };
    let number = number.parse::<u64>().map_err(|error| error.to_string())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_with_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["5", "m", "5d", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
