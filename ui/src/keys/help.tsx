/** All keys that do something here. */
import { Checkbox } from '@mantine/core';
import { Dialog } from '../components/dialog';
import { set, useSettings } from '../store/local';
import { type Command, shownKeys, useAllCommands } from './keymap';
import classes from './keys.module.css';

const GROUPS: Command['group'][] = ['This page', 'Go to', 'Everywhere'];

export function Help({ onClose }: { onClose: () => void }) {
  const commands = useAllCommands().filter(command => command.keys !== '');
  const { singleKeys } = useSettings();
  return (
    <Dialog title="Keys" onClose={onClose} wide>
      <div className={classes.help}>
        {GROUPS.map(group => {
          const those = commands.filter(command => command.group === group);
          return those.length === 0 ? null : (
            <section key={group}>
              <h3>{group}</h3>
              <dl>
                {those.map(command => (
                  <div key={command.keys}>
                    <dt>{command.title}</dt>
                    <dd>
                      <Keys keys={command.keys} />
                    </dd>
                  </div>
                ))}
              </dl>
            </section>
          );
        })}
      </div>
      <div className={classes.switch}>
        <Checkbox
          label="Letters alone are shortcuts"
          checked={singleKeys}
          onChange={event => set({ singleKeys: event.currentTarget.checked })}
        />
      </div>
    </Dialog>
  );
}

export function Keys({ keys }: { keys: string }) {
  return (
    <span className={classes.keys}>
      {shownKeys(keys).map(key => (
        <kbd key={key}>{key}</kbd>
      ))}
    </span>
  );
}
