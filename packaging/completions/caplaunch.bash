complete -F _command caplaunch
