# Completion of obol, for fish. Load it with: obol completion fish | source

function __obol_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l directive 0
    set -l found
    for line in ($program __complete $words[2..-1] "$current" 2>/dev/null)
        if string match -qr '^:[0-9]+$' -- $line
            set directive (string sub -s 2 -- $line)
        else
            set -a found $line
        end
    end
    set -l option (string match -r '^--[^=]*=' -- "$current")
    set -l value (string replace -r '^--[^=]*=' '' -- "$current")
    # The directive is a sum: 4 no files, 16 directories only.
    if set -q found[1]
        printf '%s\n' $found
    else if test (math "floor($directive / 16) % 2") -eq 1
        __fish_complete_directories "$value" | string replace -r -- '^' "$option"
    else if test (math "floor($directive / 4) % 2") -eq 0
        __fish_complete_path "$value" | string replace -r -- '^' "$option"
    end
end

complete -c obol -f -a '(__obol_complete)'
