// Sets the chosen colours before anything is painted; core/theme.js lets the reader choose.
document.documentElement.dataset.theme = localStorage.getItem("nexus-theme") ?? "system";
