complete -c caplaunch
