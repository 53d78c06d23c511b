/** What the API answers, as far as pages look at it. Numbers in texts are numbers of PromQL. */
import type { Labels } from '../format/labels';

export type { Labels };

/** Time in seconds, and the value as text. */
export type Sample = [number, string];

/** A histogram as queries answer with it: buckets are boundary rule, lower, upper, count. */
export interface HistogramValue {
  count: string;
  sum: string;
  buckets?: [number, string, string, string][];
}

export interface VectorItem {
  metric: Labels;
  value?: Sample;
  histogram?: [number, HistogramValue];
}
export interface MatrixItem {
  metric: Labels;
  values?: Sample[];
  histograms?: [number, HistogramValue][];
}

/** A node of an explained plan; figures only where it was executed. */
export interface PlanNode {
  operation: string;
  query: string;
  steps: number;
  notes?: string[];
  seriesIn?: number;
  seriesOut?: number;
  samplesDecoded?: number;
  samplesOut?: number;
  peakBytes?: number;
  wallSeconds?: number;
  cpuSeconds?: number;
  inputs?: PlanNode[];
  /** Where it stands in the query's text, where the server says so. */
  span?: [number, number];
  preview?: {
    t0: number;
    step: number;
    min: (number | null)[];
    mid: (number | null)[];
    max: (number | null)[];
  };
}

export interface Explained {
  plan: PlanNode;
  totals?: { wallSeconds: number; peakBytes: number; samplesRead: number };
}

export interface QueryStats {
  timings?: { evalTotalTime?: number; execTotalTime?: number };
  samples?: { totalQueryableSamples?: number; peakSamples?: number };
}

export type QueryData = { stats?: QueryStats; explain?: Explained } & (
  | { resultType: 'vector'; result: VectorItem[] }
  | { resultType: 'matrix'; result: MatrixItem[] }
  | { resultType: 'scalar' | 'string'; result: Sample }
);

export interface Alert {
  labels: Labels;
  annotations: Labels;
  state: 'firing' | 'pending' | 'inactive' | 'unknown';
  activeAt: string;
  value: string;
  keepFiringSince?: string;
}

interface RuleBase {
  name: string;
  query: string;
  labels: Labels;
  health: 'ok' | 'err' | 'unknown';
  lastError?: string;
  /** Seconds. */
  evaluationTime: number;
  lastEvaluation: string;
}
export interface RecordingRule extends RuleBase {
  type: 'recording';
}
export interface AlertingRule extends RuleBase {
  type: 'alerting';
  state: 'firing' | 'pending' | 'inactive' | 'unknown';
  /** Seconds. */
  duration: number;
  keepFiringFor: number;
  annotations: Labels;
  alerts: Alert[] | null;
}
export type Rule = RecordingRule | AlertingRule;

export interface RuleGroup {
  name: string;
  file: string;
  rules: Rule[];
  /** Seconds. */
  interval: number;
  limit: number;
  evaluationTime: number;
  lastEvaluation: string;
}

export interface Target {
  discoveredLabels: Labels;
  labels: Labels;
  scrapePool: string;
  scrapeUrl: string;
  globalUrl: string;
  lastError: string;
  lastWarning?: string;
  lastScrape: string;
  /** Seconds. */
  lastScrapeDuration: number;
  health: 'up' | 'down' | 'unknown';
  scrapeInterval: string;
  scrapeTimeout: string;
}

export interface DroppedTarget {
  discoveredLabels: Labels;
  scrapePool: string;
}

export interface Targets {
  activeTargets: Target[];
  droppedTargets: DroppedTarget[];
  droppedTargetCounts: Record<string, number> | null;
  discoveryErrors?: { scrapePool: string; mechanism: string; lastError: string; since: string }[];
}

export interface RelabelStep {
  rule: Record<string, unknown>;
  output: Labels;
  keep: boolean;
}

export interface Stat {
  name: string;
  value: number;
}
export interface TsdbStatus {
  headStats: {
    numSeries: number;
    numLabelPairs: number;
    chunkCount: number;
    minTime: number;
    maxTime: number;
  };
  seriesCountByMetricName: Stat[];
  labelValueCountByLabelName: Stat[];
  memoryInBytesByLabelName: Stat[];
  seriesCountByLabelValuePair: Stat[];
}
export interface Block {
  ulid: string;
  minTime: number;
  maxTime: number;
  stats: { numSamples?: number; numSeries?: number; numChunks?: number };
  compaction: { level: number; sources?: string[] };
}

export interface RuntimeInfo {
  startTime: string;
  serverTime: string;
  CWD: string;
  hostname: string;
  reloadConfigSuccess: boolean;
  lastConfigTime: string;
  corruptionCount: number;
  goroutineCount: number;
  GOMAXPROCS: number;
  storageRetention: string;
}
export interface BuildInfo {
  version: string;
  revision: string;
  branch: string;
}
export interface Notice {
  text: string;
  date: string;
  active: boolean;
}

/** Groups of switches: `features.api.admin`. */
export type Features = Record<string, Record<string, boolean>>;

export interface MetricMetadata {
  type: string;
  unit: string;
  help: string;
}

export interface SilenceMatcher {
  name: string;
  value: string;
  isRegex: boolean;
  isEqual: boolean;
}
export interface Silence {
  id: string;
  status: { state: 'active' | 'pending' | 'expired' };
  matchers: SilenceMatcher[];
  startsAt: string;
  endsAt: string;
  updatedAt: string;
  createdBy: string;
  comment: string;
}
export interface AmAlert {
  fingerprint: string;
  labels: Labels;
  annotations: Labels;
  startsAt: string;
  endsAt: string;
  updatedAt: string;
  generatorURL: string;
  receivers: { name: string }[];
  status: {
    state: 'active' | 'suppressed' | 'unprocessed';
    silencedBy: string[];
    inhibitedBy: string[];
    mutedBy?: string[];
  };
}
