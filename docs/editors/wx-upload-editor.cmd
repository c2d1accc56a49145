@echo off
rem Uploads pictures for an editor, and prints their links, one a line, in the order of the paths.
rem
rem Enter the full path of this file in the editor. The path must have no blanks, as cmd gets it without quotes. The
rem manual's chapter "Editors" has the exact line for each program.
rem - Typora, ksnip, Vim and Emacs pass the paths alone. They take standard output for links.
rem - Programs that know PicGo pass the word `upload` or `u` first. After `upload` they want bare links, after `u` the line
rem   `[PicGo SUCCESS]:` before them, and after both `[PicGo ERROR]: REASON` for a failure, all on standard output. Without
rem   a path, the word means the picture in the clipboard.
rem - New versions of MarkText start no .cmd as a command line script: name a copy of this file picgo.cmd, put its
rem   directory on the PATH, and choose the uploader PicGo.
rem
rem The program and config.json are beside this file, or two directories above it, as in the archive. A program on the
rem PATH is found, too. The editor's own directory does not matter: a config.json there may be another program's.

setlocal
set "here=%~dp0"
if /i "%here:~-14%"=="\docs\editors\" set "here=%here:~0,-13%"

rem The word may stand behind a config, as image-migrate-picgo puts it. Without a path behind it, its picture is in the
rem clipboard.
set "word="
set "path_is_missing="
if "%~1"=="u" set "word=u"
if "%~1"=="upload" set "word=upload"
if defined word if "%~2"=="" set "path_is_missing=1"
if "%~1"=="--config" if "%~3"=="u" set "word=u"
if "%~1"=="--config" if "%~3"=="upload" set "word=upload"

rem What an editor reads is kept here until the program has ended. Only the user can read this directory. Two scripts that
rem start in the same second get the same random numbers: mkdir fails for the second one, which takes the next numbers.
set "tries="
:again
set "tries=%tries%+"
set "private=%TEMP%\wx-upload-%RANDOM%-%RANDOM%"
rem ver sets the errorlevel to 0.
ver >nul
mkdir "%private%" 2>nul
if errorlevel 1 if not "%tries%"=="++++++++" goto again
set "reason=%private%\reason"
set "status=2"
if exist "%private%\" goto find
echo error: "%TEMP%" can't be written>&2
if defined word echo [PicGo ERROR]: "%TEMP%" can't be written
exit /b 2

:find
set "program=%here%wx-upload.exe"
set "call="
if not exist "%program%" for %%P in (wx-upload.exe) do set "program=%%~$PATH:P"
rem npm puts a .cmd on the PATH.
if not defined program for %%P in (wx-upload.cmd) do set "program=%%~$PATH:P"& set "call=call"
if not defined program (>"%reason%" echo error: "%here%wx-upload.exe": there is no such program)& goto failed
set "config=%here%config.json"
if not exist "%config%" for %%P in ("%program%") do if exist "%%~dpPconfig.json" set "config=%%~dpPconfig.json"

set "picture="
if not defined path_is_missing goto run
set "picture=%private%\clipboard.png"
rem The name of the user may have a quote in it: PowerShell takes the path from the variable.
set "save=$p = Get-Clipboard -Format Image; if ($p) { $p.Save($env:picture, [Drawing.Imaging.ImageFormat]::Png) }"
powershell -NoProfile -STA -Command "%save%" >nul 2>&1
if not exist "%picture%" (>"%reason%" echo error: PowerShell found no picture in the clipboard)& goto failed
set "picture="%picture%""

:run
rem --unique: pictures in different articles often have the same name.
%call% "%program%" --quiet --format url --unique --config "%config%" %* %picture% >"%private%\links" 2>"%reason%"
set "status=%errorlevel%"
if not "%status%"=="0" goto failed
rem MarkText and nvim-picgo look for the link behind this word, in what they read at once. No warning stands beside it.
if "%word%"=="u" >"%private%\output" echo [PicGo SUCCESS]:
type "%private%\links" >>"%private%\output"
type "%private%\output"
goto end

:failed
for %%F in ("%reason%") do if "%%~zF"=="0" (>"%reason%" echo error: "%program%": it ended with status %status%)
type "%reason%" >&2
if not defined word goto end
rem Obsidian's plugin and PicGo's other friends do not look at the exit status, but at this word.
<nul set /p "=[PicGo ERROR]: ">"%private%\output"
type "%reason%" >>"%private%\output"
type "%private%\output"

:end
rmdir /s /q "%private%"
exit /b %status%
