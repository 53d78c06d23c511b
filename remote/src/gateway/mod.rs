//! The push gateway: groups of metrics that jobs leave here for the scraper.
