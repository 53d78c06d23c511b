/** The pages inside of their frame. */
import { MantineProvider } from '@mantine/core';
import { QueryClientProvider } from '@tanstack/react-query';
import { useEffect, useMemo } from 'react';
import { Guard } from './components/guard';
import { Notice } from './components/notice';
import { Page } from './components/page';
import { queryClient } from './live/poll';
import { pageOf } from './pages';
import { Shell } from './shell/shell';
import { useSettings } from './store/local';
import { useScheme } from './theme/colours';
import { theme } from './theme/mantine';
import { Link } from './url/link';
import { usePlace } from './url/location';

export function App() {
  const scheme = useScheme();
  const { density } = useSettings();
  useEffect(() => {
    document.documentElement.dataset.density = density;
  }, [density]);
  return (
    <MantineProvider
      theme={theme}
      forceColorScheme={scheme}
      withCssVariables={false}
      withGlobalClasses={false}
    >
      <QueryClientProvider client={queryClient}>
        <Here />
      </QueryClientProvider>
    </MantineProvider>
  );
}

function Here() {
  const { path } = usePlace();
  const found = useMemo(() => pageOf(path), [path]);
  return (
    <Shell current={found?.entry}>
      <Guard key={path}>{found ? <found.component {...found.parts} /> : <Nowhere path={path} />}</Guard>
    </Shell>
  );
}

function Nowhere({ path }: { path: string }) {
  return (
    <Page title="Nothing here" sentence="There is no page here.">
      <Notice fact={`Nothing lies at ${path}.`} next={<Link to="/query">Go to Explore</Link>} />
    </Page>
  );
}
