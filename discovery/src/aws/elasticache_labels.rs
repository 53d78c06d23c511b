//! What labels are made of in answers of ElastiCache.

use super::table::Kind::{Flag, Number, Text, Time};
use super::table::Row;

/// Labels of a serverless cache. Compat: the names of limits lack an underscore (conformance `discovery/elasticache/caches`).
pub(super) const SERVERLESS: &[Row] = &[
    ("ARN", "arn", Text),
    ("ServerlessCacheName", "name", Text),
    ("Status", "status", Text),
    ("Engine", "engine", Text),
    ("FullEngineVersion", "full_engine_version", Text),
    ("MajorEngineVersion", "major_engine_version", Text),
    ("Description", "description", Text),
    ("CreateTime", "create_time", Time),
    ("KmsKeyId", "kms_key_id", Text),
    ("UserGroupId", "user_group_id", Text),
    ("DailySnapshotTime", "daily_snapshot_time", Text),
    ("SnapshotRetentionLimit", "snapshot_retention_limit", Number),
    ("Endpoint.Address", "endpoint_address", Text),
    ("Endpoint.Port", "endpoint_port", Number),
    ("ReaderEndpoint.Address", "endpoint_reader_address", Text),
    ("ReaderEndpoint.Port", "endpoint_reader_port", Number),
    (
        "CacheUsageLimits.DataStorage.Maximum",
        "cache_usage_limit_data_storagemaximum",
        Number,
    ),
    (
        "CacheUsageLimits.DataStorage.Minimum",
        "cache_usage_limit_data_storageminimum",
        Number,
    ),
    (
        "CacheUsageLimits.DataStorage.Unit",
        "cache_usage_limit_data_storageunit",
        Text,
    ),
    (
        "CacheUsageLimits.ECPUPerSecond.Maximum",
        "cache_usage_limit_ecpu_per_secondmaximum",
        Number,
    ),
    (
        "CacheUsageLimits.ECPUPerSecond.Minimum",
        "cache_usage_limit_ecpu_per_secondminimum",
        Number,
    ),
];

/// Labels of a cache cluster.
pub(super) const CLUSTER: &[Row] = &[
    ("ARN", "arn", Text),
    ("CacheClusterId", "cache_cluster_id", Text),
    ("CacheClusterStatus", "cache_cluster_status", Text),
    ("AtRestEncryptionEnabled", "at_rest_encryption_enabled", Flag),
    ("AuthTokenEnabled", "auth_token_enabled", Flag),
    ("AuthTokenLastModifiedDate", "auth_token_last_modified", Time),
    ("AutoMinorVersionUpgrade", "auto_minor_version_upgrade", Flag),
    ("CacheClusterCreateTime", "cache_cluster_create_time", Time),
    ("CacheNodeType", "cache_node_type", Text),
    (
        "CacheParameterGroup.CacheParameterGroupName",
        "cache_parameter_group",
        Text,
    ),
    ("CacheSubnetGroupName", "cache_subnet_group_name", Text),
    ("ClientDownloadLandingPage", "client_download_landing_page", Text),
    (
        "ConfigurationEndpoint.Address",
        "configuration_endpoint_address",
        Text,
    ),
    (
        "ConfigurationEndpoint.Port",
        "configuration_endpoint_port",
        Number,
    ),
    ("Engine", "engine", Text),
    ("EngineVersion", "engine_version", Text),
    ("IpDiscovery", "ip_discovery", Text),
    ("NetworkType", "network_type", Text),
    (
        "NotificationConfiguration.TopicArn",
        "notification_topic_arn",
        Text,
    ),
    (
        "NotificationConfiguration.TopicStatus",
        "notification_topic_status",
        Text,
    ),
    ("NumCacheNodes", "num_cache_nodes", Number),
    ("PreferredAvailabilityZone", "preferred_availability_zone", Text),
    ("PreferredMaintenanceWindow", "preferred_maintenance_window", Text),
    ("PreferredOutpostArn", "preferred_outpost_arn", Text),
    ("ReplicationGroupId", "replication_group_id", Text),
    (
        "ReplicationGroupLogDeliveryEnabled",
        "replication_group_log_delivery_enabled",
        Flag,
    ),
    ("SnapshotRetentionLimit", "snapshot_retention_limit", Number),
    ("SnapshotWindow", "snapshot_window", Text),
    ("TransitEncryptionEnabled", "transit_encryption_enabled", Flag),
    ("TransitEncryptionMode", "transit_encryption_mode", Text),
    (
        "PendingModifiedValues.AuthTokenStatus",
        "pending_modified_values_auth_token_status",
        Text,
    ),
    (
        "PendingModifiedValues.CacheNodeType",
        "pending_modified_values_cache_node_type",
        Text,
    ),
    (
        "PendingModifiedValues.EngineVersion",
        "pending_modified_values_engine_version",
        Text,
    ),
    (
        "PendingModifiedValues.NumCacheNodes",
        "pending_modified_values_num_cache_nodes",
        Number,
    ),
    (
        "PendingModifiedValues.TransitEncryptionEnabled",
        "pending_modified_values_transit_encryption_enabled",
        Flag,
    ),
    (
        "PendingModifiedValues.TransitEncryptionMode",
        "pending_modified_values_transit_encryption_mode",
        Text,
    ),
];

/// Labels of a node.
pub(super) const NODE: &[Row] = &[
    ("CacheNodeId", "id", Text),
    ("CacheNodeStatus", "status", Text),
    ("CacheNodeCreateTime", "create_time", Time),
    ("CustomerAvailabilityZone", "availability_zone", Text),
    ("CustomerOutpostArn", "customer_outpost_arn", Text),
    ("SourceCacheNodeId", "source_cache_node_id", Text),
    ("ParameterGroupStatus", "parameter_group_status", Text),
    ("Endpoint.Address", "endpoint_address", Text),
    ("Endpoint.Port", "endpoint_port", Number),
];
