# Completion of obol, for bash. Load it with: source <(obol completion bash)

_obol() {
    local rest=$COMP_LINE word trimmed last prefix line i directive=0
    local -a words=()
    # bash splits at = and : as well; obol is given the words as they were typed.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        if ((i > 0)) && [[ -n $word && $trimmed == "$rest" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        rest=${trimmed#"$word"}
    done
    last=${words[${#words[@]} - 1]}
    prefix=
    if [[ $last == *[=:]* && $COMP_WORDBREAKS == *[=:]* ]]; then
        prefix=${last%"${last##*[=:]}"}
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line =~ ^:[0-9]+$ ]]; then
            directive=${line#:}
            continue
        fi
        line=${line%%$'\t'*}
        if [[ -n $line && $line == "$last"* ]]; then
            printf -v line %q "$line"
            COMPREPLY+=("${line#"$prefix"}")
        fi
    done < <("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null)
    # The directive is a sum: 2 no blank behind a word, 4 no files, 16 directories only.
    if ((${#COMPREPLY[@]} == 0 && directive & 16)); then
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen -d -- "${last#"$prefix"}")
        compopt -o filenames 2>/dev/null
    fi
    ((directive & 2)) && compopt -o nospace 2>/dev/null
    ((directive & 4)) && compopt +o default 2>/dev/null
    return 0
}

complete -o default -F _obol obol
