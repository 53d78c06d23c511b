/** The parts of Notifications. */
import { SegmentedControl } from '@mantine/core';
import { href, navigate } from '../../url/location';

const PARTS = [
  { value: 'silences', label: 'Silences' },
  { value: 'destinations', label: 'Destinations' },
];

export function Parts({ current }: { current: string }) {
  return (
    <SegmentedControl
      aria-label="Part"
      data={PARTS}
      value={current}
      onChange={part => navigate(href(`/notifications/${part}`))}
    />
  );
}

/** What is said where no Alertmanager is inside. */
export const OFF = {
  fact: 'No Alertmanager is inside.',
  reason: 'Silences are kept by the Alertmanager that routes the alerts.',
  next: 'Start with --alertmanager.config.file to have it here, or open the one that alerts are sent to.',
};
