#compdef obol
# Completion of obol, for zsh. Load it after compinit with: source <(obol completion zsh)
# Or store it as _obol in a directory of $fpath.

_obol() {
    local program=${(Q)words[1]} line value directive=0
    local -a described how
    for line in "${(@f)$(${~program} __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :<-> ]]; then
            directive=${line#:}
        elif [[ -n $line ]]; then
            value=${line%%$'\t'*}
            described+=("${value//:/\\:}${${line#"$value"}/$'\t'/:}")
        fi
    done
    # The directive is a sum: 2 no blank behind a word, 4 no files, 16 directories only.
    (( directive & 2 )) && how=(-S '')
    if (( $#described )); then
        _describe -V obol described $how
        return
    fi
    [[ $words[CURRENT] == --*=* ]] && compset -P '*='
    if (( directive & 16 )); then
        _files -/
    elif (( ! (directive & 4) )); then
        _files
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _obol "$@"
else
    compdef _obol obol
fi
