// The viewer's headings skip a level, and its introduction belongs to no landmark.
new MutationObserver(() => {
  for (const heading of document.querySelectorAll('h3, h4'))
    heading.setAttribute('aria-level', String(heading.localName.at(1) - 1));
  for (const about of document.querySelectorAll('.information-container')) {
    about.setAttribute('role', 'region');
    about.setAttribute('aria-label', 'About');
  }
}).observe(document.getElementById('reference'), { childList: true, subtree: true });
const dark = matchMedia('(prefers-color-scheme: dark)');
const followTheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', followTheme);
followTheme();
// Addresses are relative, so that the page works behind a proxy that puts a prefix before it.
SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#reference',
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
