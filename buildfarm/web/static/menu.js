// The item "Nightly rebuilds" in Buildbot's menu. Its pages are no part of Buildbot's single page: it leads there.
(function () {
  "use strict";
  const React = window.React;
  const draw = React.createElement;

  function Leave() {
    React.useEffect(function () {
      window.location.replace("rebuilds/");
    }, []);
    return draw("a", { href: "rebuilds/" }, "Nightly rebuilds");
  }

  const moon = draw(
    "svg",
    { viewBox: "0 0 16 16", width: "1em", height: "1em", fill: "currentColor", "aria-hidden": true },
    draw("path", { d: "M6 1a7 7 0 1 0 9 9 6 6 0 0 1-9-9z" })
  );

  window.BuildbotPluginSupport.buildbotSetupPlugin(function (registrations) {
    registrations.registerMenuGroup({
      name: "rebuilds",
      caption: "Nightly rebuilds",
      icon: moon,
      order: 8,
      route: "/rebuilds",
      parentName: null,
    });
    registrations.registerRoute({ route: "/rebuilds", group: "rebuilds", element: function () { return draw(Leave); } });
  });
})();
