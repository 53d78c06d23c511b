/** Links between pages: real ones, so that they open in a new tab, are copied and shown like any other. */
import type { AnchorHTMLAttributes, MouseEvent } from 'react';
import { href, navigate } from './location';

interface Props extends AnchorHTMLAttributes<HTMLAnchorElement> {
  to: string;
  params?: URLSearchParams | Record<string, string | undefined>;
}

export function Link({ to, params, onClick, ...rest }: Props) {
  const address = href(to, params);
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (event.defaultPrevented || !plain || rest.target) return;
    event.preventDefault();
    navigate(address);
  };
  return <a href={address} onClick={follow} {...rest} />;
}
