//! Metrics of OpenTelemetry, pushed by its protocol.
